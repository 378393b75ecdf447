//! `bowline top`: who fills the store, refreshed in place on a terminal, or once for scripts.
//!
//! Rates are the difference of two answers, so the first picture comes after one interval.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use client::{Client, Options, Tls};
use proto::bowline::{Account, Order, TopRequest, TopResponse};
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(5);
const ONCE_INTERVAL: Duration = Duration::from_secs(1);
/// Clears the screen and goes to its top left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub fn command() -> Command {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
    };
    Command::new("top")
        .about("Show who fills the store: keys, bytes and rates per prefix")
        .arg(
            Arg::new("endpoints")
                .long("endpoints")
                .value_delimiter(',')
                .default_value("127.0.0.1:2379")
                .env("ETCDCTL_ENDPOINTS")
                .help("Servers to ask; the first that answers is used"),
        )
        .arg(file("cacert", "CA that signed the server's certificate, PEM").env("ETCDCTL_CACERT"))
        .arg(file("cert", "Certificate shown to the server, PEM").env("ETCDCTL_CERT"))
        .arg(file("key", "Private key of --cert, PEM").env("ETCDCTL_KEY"))
        .arg(
            Arg::new("sort")
                .long("sort")
                .value_parser(["bytes", "live", "history", "keys", "writes", "deletes"])
                .default_value("bytes")
                .help("What prefixes are ordered by, largest first; writes and deletes since the member started"),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_parser(value_parser!(u32).range(1..=100_000))
                .default_value("20")
                .help("Prefixes to show"),
        )
        .arg(
            Arg::new("interval")
                .long("interval")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64).range(1..=3600))
                .default_value("2")
                .help("Time between two pictures"),
        )
        .arg(Arg::new("once").long("once").action(ArgAction::SetTrue).help("Show one picture and end"))
        .arg(
            Arg::new("write-out")
                .long("write-out")
                .short('o')
                .value_parser(["table", "json"])
                .default_value("table")
                .help("Form of the picture; as JSON it is one line"),
        )
}

/// Runs until the output is closed, or once. The error is one sentence.
pub fn run(matches: &ArgMatches) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("start: {error}"))?;
    runtime.block_on(show(matches))
}

async fn show(matches: &ArgMatches) -> Result<(), String> {
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let options = Options {
        endpoints: matches.get_many::<String>("endpoints").into_iter().flatten().cloned().collect(),
        tls: Tls { ca_file: path("cacert"), cert_file: path("cert"), key_file: path("key"), ..Tls::default() },
        timeout: TIMEOUT,
        ..Options::default()
    };
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let once = matches.get_flag("once");
    let seconds = matches.get_one("interval").copied().unwrap_or(2);
    let interval = if once { ONCE_INTERVAL } else { Duration::from_secs(seconds) };
    let limit = matches.get_one("limit").copied().unwrap_or(20);
    let request = TopRequest { limit, order: order(text("sort")).into() };
    let clear = if !once && std::io::stdout().is_terminal() { CLEAR } else { "" };
    let mut client = Client::connect(&options).await.map_err(|error| error.to_string())?;
    let mut before = Answer::ask(&mut client, request).await?;
    loop {
        tokio::time::sleep(interval).await;
        let answer = Answer::ask(&mut client, request).await?;
        let picture = if text("write-out") == "json" { answer.json(&before) } else { answer.table(&before) };
        let mut out = std::io::stdout().lock();
        if write!(out, "{clear}{picture}").and_then(|()| out.flush()).is_err() || once {
            return Ok(());
        }
        before = answer;
    }
}

fn order(sort: &str) -> Order {
    match sort {
        "live" => Order::LiveBytes,
        "history" => Order::HistoryBytes,
        "keys" => Order::Keys,
        "writes" => Order::Writes,
        "deletes" => Order::Deletes,
        _ => Order::RetainedBytes,
    }
}

struct Answer {
    at: Instant,
    top: TopResponse,
}

/// What one prefix did between two answers, per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Rates {
    writes: f64,
    deletes: f64,
}

impl Answer {
    async fn ask(client: &mut Client, request: TopRequest) -> Result<Answer, String> {
        let top = client.top(request).await.map_err(|error| error.to_string())?;
        Ok(Answer { at: Instant::now(), top })
    }

    /// Accounts with their rates; one that was not in the answer before has none.
    fn rated<'a>(&'a self, before: &Answer) -> impl Iterator<Item = (&'a Account, Rates)> {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let known: HashMap<_, _> = before
            .top
            .accounts
            .iter()
            .map(|account| (account.prefix.clone(), (account.writes, account.deletes)))
            .collect();
        self.top.accounts.iter().map(move |account| {
            let rates = known.get(&account.prefix).map(|&(writes, deletes)| Rates {
                writes: account.writes.saturating_sub(writes) as f64 / seconds,
                deletes: account.deletes.saturating_sub(deletes) as f64 / seconds,
            });
            (account, rates.unwrap_or_default())
        })
    }

    fn table(&self, before: &Answer) -> String {
        let top = &self.top;
        let mut out = format!("retained {}", bytes(top.retained_bytes));
        if let Some(quota) = top.quota_bytes {
            let percent = top.retained_bytes as f64 * 100.0 / quota.max(1) as f64;
            let _ = write!(out, " of {} ({percent:.1} %)", bytes(quota));
        }
        let _ = write!(out, ", on disk {}", bytes(top.physical_bytes));
        if let Some(seconds) = top.full_in_s {
            let _ = write!(out, ", full in {}", duration(seconds));
        }
        if top.alarm {
            out.push_str(", NOSPACE: what grows is refused");
        }
        let heads = ["KEYS", "LIVE", "HISTORY", "WRITES/S", "DELETES/S"];
        let [keys, live, history, writes, deletes] = heads;
        let _ = writeln!(out, "\n{keys:>10} {live:>10} {history:>10} {writes:>9} {deletes:>9}  PREFIX");
        for (account, rates) in self.rated(before) {
            let Account { prefix, keys, live_bytes, history_bytes, .. } = account;
            let (live, history) = (bytes(*live_bytes), bytes(*history_bytes));
            let Rates { writes, deletes } = rates;
            let _ = writeln!(
                out,
                "{keys:>10} {live:>10} {history:>10} {writes:>9.1} {deletes:>9.1}  {}",
                prefix.escape_ascii()
            );
        }
        let hidden = top.accounts_total.saturating_sub(top.accounts.len() as u64);
        if hidden > 0 {
            let _ = writeln!(out, "{hidden} more prefixes, see --limit");
        }
        out
    }

    fn json(&self, before: &Answer) -> String {
        let top = &self.top;
        let accounts: Vec<_> = self
            .rated(before)
            .map(|(account, rates)| {
                json!({
                    "prefix": account.prefix.escape_ascii().to_string(),
                    "keys": account.keys,
                    "live_bytes": account.live_bytes,
                    "history_bytes": account.history_bytes,
                    "writes": account.writes,
                    "deletes": account.deletes,
                    "writes_per_s": rates.writes,
                    "deletes_per_s": rates.deletes,
                })
            })
            .collect();
        let answer = json!({
            "retained_bytes": top.retained_bytes,
            "physical_bytes": top.physical_bytes,
            "quota_bytes": top.quota_bytes,
            "full_in_s": top.full_in_s,
            "alarm": top.alarm,
            "accounts_total": top.accounts_total,
            "accounts": accounts,
        });
        format!("{answer}\n")
    }
}

/// With three digits and a binary unit.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut figure, mut unit) = (bytes as f64, 0);
    while figure >= 1000.0 && unit + 1 < UNITS.len() {
        figure /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || figure >= 100.0 { 0 } else { 1 };
    format!("{figure:.digits$} {}", UNITS[unit])
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(at: Instant, writes: u64) -> Answer {
        let account = |prefix: &'static str, writes| Account {
            prefix: prefix.into(),
            keys: 3,
            live_bytes: 1536,
            history_bytes: 0,
            writes,
            deletes: 1,
        };
        let accounts = vec![account("/registry/pods", writes), account("a\nb", 7)];
        let top = TopResponse {
            retained_bytes: 950 << 20,
            physical_bytes: 1 << 30,
            quota_bytes: Some(1000 << 20),
            alarm: true,
            full_in_s: Some(11_000),
            accounts_total: 5,
            accounts,
        };
        Answer { at, top }
    }

    #[test]
    fn a_picture_has_figures_rates_and_no_control_bytes() {
        let start = Instant::now();
        let (before, now) = (answer(start, 10), answer(start + Duration::from_secs(2), 35));
        let expected =
            "retained 950 MiB of 1.0 GiB (95.0 %), on disk 1.0 GiB, full in 3 h, NOSPACE: what grows is refused
      KEYS       LIVE    HISTORY  WRITES/S DELETES/S  PREFIX
         3    1.5 KiB        0 B      12.5       0.0  /registry/pods
         3    1.5 KiB        0 B       0.0       0.0  a\\nb
3 more prefixes, see --limit
";
        assert_eq!(now.table(&before), expected);
        let json: serde_json::Value = serde_json::from_str(&now.json(&before)).expect("JSON");
        assert_eq!(json["accounts"][0]["writes_per_s"], 12.5);
        assert_eq!(json["accounts"][1]["prefix"], "a\\nb");
        assert_eq!(json["quota_bytes"], 1000_u64 << 20);
    }

    #[test]
    fn bytes_and_durations_are_short() {
        let texts = [0, 999, 1000, 1 << 20, 123 << 20, u64::MAX].map(bytes);
        assert_eq!(texts, ["0 B", "999 B", "1.0 KiB", "1.0 MiB", "123 MiB", "16777216 TiB"]);
        assert_eq!([0, 119, 120, 7200, 172_800].map(duration), ["0 s", "119 s", "2 min", "2 h", "2 d"]);
    }
}
