//! `bowline budget set|remove|list`: how much the keys below a prefix may take.
//!
//! `set` changes the limits that are given and leaves the others as they are: it reads the budget, changes it and sets
//! it. Two that do so at once for one prefix may undo one another.

use crate::connection;
use crate::top::bytes;
use clap::{Arg, ArgMatches, Command};
use proto::bowline::{Budget, BudgetState, Limits};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Each limit: its flag, its place, how it is read.
const LIMITS: [(&str, &str); 6] = [
    ("hard-bytes", "Live pairs and history together, like 512MiB: what grows beyond is refused"),
    ("hard-keys", "Keys: creates beyond are refused"),
    ("hard-writes", "Puts a second: more are refused"),
    ("soft-bytes", "Above this the server warns"),
    ("soft-keys", "Above this the server warns"),
    ("soft-writes", "Above this the server warns"),
];

/// The word that takes a limit away.
const NONE: &str = "none";

pub fn command() -> Command {
    let prefix = || {
        Arg::new("prefix")
            .required(true)
            .value_name("PREFIX")
            .help("Directory of keys, like /registry/events; all below it count")
    };
    let limits = LIMITS.map(|(name, help)| {
        let is_bytes = name.ends_with("bytes");
        let value = if is_bytes { "SIZE" } else { "NUMBER" };
        Arg::new(name).long(name).value_name(value).help(format!("{help}; '{NONE}' takes the limit away")).value_parser(
            move |text: &str| match text {
                NONE => Ok(None),
                text if is_bytes => size(text).map(Some),
                text => number(text).map(Some),
            },
        )
    });
    let set = connection::arguments(Command::new("set"))
        .about("Set limits of a prefix; those not given stay as they are")
        .arg(prefix())
        .args(limits);
    let remove = connection::arguments(Command::new("remove")).about("Remove the budget of a prefix").arg(prefix());
    let list = connection::arguments(Command::new("list"))
        .about("Show every budget and what its prefix uses now")
        .arg(connection::write_out());
    Command::new("budget")
        .about("Limit what the keys below a prefix may take")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([set, remove, list])
}

/// The error is one sentence.
pub fn run(matches: &ArgMatches) -> Result<(), String> {
    connection::block_on(async {
        match matches.subcommand() {
            Some(("set", matches)) => set(matches).await,
            Some(("remove", matches)) => remove(matches).await,
            Some((_, matches)) => list(matches).await,
            None => Ok(()),
        }
    })
}

/// Without the slash at its end, which shells' completion and habit put there.
fn prefix_of(matches: &ArgMatches) -> String {
    let prefix = matches.get_one::<String>("prefix").map(String::as_str).unwrap_or_default();
    prefix.strip_suffix('/').unwrap_or(prefix).to_owned()
}

async fn set(matches: &ArgMatches) -> Result<(), String> {
    let prefix = prefix_of(matches);
    let given = |name: &str| matches.get_one::<Option<u64>>(name).copied();
    if LIMITS.iter().all(|(name, _)| given(name).is_none()) {
        return Err(format!("set the budget of {prefix}: no limit is given; see 'bowline budget set --help'"));
    }
    let client = connection::connect(matches).await?;
    let known = client.budgets().await.map_err(|error| error.to_string())?;
    let known = known.into_iter().filter_map(|state| state.budget).find(|budget| budget.prefix == prefix.as_bytes());
    let budget = known.unwrap_or_else(|| Budget { prefix: prefix.into(), soft: None, hard: None });
    client.budget_set(changed(budget, given)).await.map_err(|error| error.to_string())
}

fn changed(mut budget: Budget, given: impl Fn(&str) -> Option<Option<u64>>) -> Budget {
    let change = |limits: Option<Limits>, names: [&str; 3]| {
        let Limits { bytes, keys, writes_per_second } = limits.unwrap_or_default();
        let [bytes_name, keys_name, writes_name] = names;
        Some(Limits {
            bytes: given(bytes_name).unwrap_or(bytes),
            keys: given(keys_name).unwrap_or(keys),
            writes_per_second: given(writes_name).unwrap_or(writes_per_second),
        })
    };
    budget.hard = change(budget.hard, ["hard-bytes", "hard-keys", "hard-writes"]);
    budget.soft = change(budget.soft, ["soft-bytes", "soft-keys", "soft-writes"]);
    budget
}

async fn remove(matches: &ArgMatches) -> Result<(), String> {
    let client = connection::connect(matches).await?;
    client.budget_remove(prefix_of(matches).into()).await.map_err(|error| error.to_string())
}

async fn list(matches: &ArgMatches) -> Result<(), String> {
    let client = connection::connect(matches).await?;
    let budgets = client.budgets().await.map_err(|error| error.to_string())?;
    let is_json = matches.get_one::<String>("write-out").is_some_and(|form| form == "json");
    let text = if is_json {
        format!("{}\n", json!({ "budgets": budgets.iter().map(as_json).collect::<Vec<_>>() }))
    } else {
        table(&budgets)
    };
    use std::io::Write;
    // Who closed the output wants no more of it.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

fn table(budgets: &[BudgetState]) -> String {
    let number = |number: u64| number.to_string();
    let limit = |limit: Option<u64>, show: &dyn Fn(u64) -> String| limit.map_or_else(|| "-".to_owned(), show);
    let mut rows = vec![
        ["BYTES", "SOFT", "HARD", "KEYS", "SOFT", "HARD", "WRITES/S", "SOFT", "HARD", "REFUSED", "PREFIX"]
            .map(str::to_owned),
    ];
    for state in budgets {
        let Budget { prefix, soft, hard } = state.budget.clone().unwrap_or_default();
        let (soft, hard) = (soft.unwrap_or_default(), hard.unwrap_or_default());
        rows.push([
            bytes(state.bytes),
            limit(soft.bytes, &bytes),
            limit(hard.bytes, &bytes),
            number(state.keys),
            limit(soft.keys, &number),
            limit(hard.keys, &number),
            number(state.writes_per_second),
            limit(soft.writes_per_second, &number),
            limit(hard.writes_per_second, &number),
            number(state.refused),
            prefix.escape_ascii().to_string(),
        ]);
    }
    let mut out = String::new();
    for row in rows {
        let [figures @ .., prefix] = &row;
        for figure in figures {
            let _ = write!(out, "{figure:>9} ");
        }
        let _ = writeln!(out, " {prefix}");
    }
    out
}

pub fn as_json(state: &BudgetState) -> Value {
    let budget = state.budget.clone().unwrap_or_default();
    let limits = |limits: Option<Limits>| {
        let Limits { bytes, keys, writes_per_second } = limits.unwrap_or_default();
        json!({ "bytes": bytes, "keys": keys, "writes_per_second": writes_per_second })
    };
    json!({
        "prefix": budget.prefix.escape_ascii().to_string(),
        "soft": limits(budget.soft),
        "hard": limits(budget.hard),
        "used": { "bytes": state.bytes, "keys": state.keys, "writes_per_second": state.writes_per_second },
        "writes_left": state.writes_left,
        "refused": state.refused,
    })
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|error| format!("{error}; give a whole number or '{NONE}'"))
}

/// Bytes, with a unit: binary ones (KiB, MiB, GiB, TiB) or decimal ones (kB, MB, GB, TB).
fn size(text: &str) -> Result<u64, String> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        other => return Err(format!("unknown unit {other:?}; give a size like 512MiB, or '{NONE}'")),
    };
    let too_large = || "more than 2^64 bytes".to_owned();
    number(digits)?.checked_mul(factor).ok_or_else(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("0", 0), ("7B", 7), ("512MiB", 512 << 20), ("2 GiB", 2 << 30), ("3MB", 3_000_000), ("1TiB", 1 << 40)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "1mib", "1 M", "18446744073709551616", "16777216TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_given_stays() {
        let limits = |bytes, keys| Some(Limits { bytes, keys, writes_per_second: None });
        let before = Budget { prefix: "/p".into(), soft: None, hard: limits(Some(5), Some(6)) };
        let given = |name: &str| match name {
            "hard-keys" => Some(None),
            "soft-bytes" => Some(Some(4)),
            _ => None,
        };
        let after = changed(before, given);
        assert_eq!((after.hard, after.soft), (limits(Some(5), None), limits(Some(4), None)));
    }

    #[test]
    fn a_table_has_a_line_for_each_budget() {
        let limits = |bytes, keys| Some(Limits { bytes, keys, writes_per_second: Some(9) });
        let budget = Budget { prefix: "/a\n".into(), soft: limits(None, Some(6)), hard: limits(Some(512 << 20), None) };
        let state = BudgetState { budget: Some(budget), bytes: 1536, keys: 7, refused: 3, ..BudgetState::default() };
        let expected = "    BYTES      SOFT      HARD      KEYS      SOFT      HARD  WRITES/S      SOFT      HARD   REFUSED  PREFIX
  1.5 KiB         -   512 MiB         7         6         -         0         9         9         3  /a\\n
";
        assert_eq!(table(&[state]), expected);
    }
}
