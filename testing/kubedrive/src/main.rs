//! Answers requests about Kubernetes values: one JSON object a line on standard input, one a line on standard output,
//! in the same order, until the input ends.
//!
//! ```text
//! {"verb": "verbs"}    ->  {"ok": ["verbs", …]}
//! {"verb": "guess"}    ->  {"error": "unknown verb guess; …"}
//! ```
//!
//! Bytes are hexadecimal strings. An error is an answer like any other; only a line that is no JSON ends the program,
//! because then the two sides no longer agree on what a line is.

#![forbid(unsafe_code)]

mod keys;
mod matching;
mod values;
mod verbs;

use serde_json::{Value, json};
use std::io::{self, BufRead, Write};

fn main() -> io::Result<()> {
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let answer = match verbs::answer(&request) {
            Ok(answer) => json!({"ok": answer}),
            Err(error) => json!({"error": error}),
        };
        serde_json::to_writer(&mut output, &answer)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}
