//! `bowline top`: who fills the store, refreshed in place on a terminal, or once for scripts.
//!
//! Rates are the difference of two answers, so the first picture comes after one interval.

use crate::connection;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use client::Client;
use proto::bowline::{Account, BudgetState, Order, TopRequest, TopResponse};
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

const ONCE_INTERVAL: Duration = Duration::from_secs(1);
/// Clears the screen and goes to its top left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub fn command() -> Command {
    connection::arguments(Command::new("top"))
        .about("Show who fills the store: keys, bytes and rates per prefix")
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
        .arg(connection::write_out())
}

/// Runs until the output is closed, or once. The error is one sentence.
pub fn run(matches: &ArgMatches) -> Result<(), String> {
    connection::block_on(show(matches))
}

async fn show(matches: &ArgMatches) -> Result<(), String> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let once = matches.get_flag("once");
    let seconds = matches.get_one("interval").copied().unwrap_or(2);
    let interval = if once { ONCE_INTERVAL } else { Duration::from_secs(seconds) };
    let limit = matches.get_one("limit").copied().unwrap_or(20);
    let request = TopRequest { limit, order: order(text("sort")).into() };
    let clear = if !once && std::io::stdout().is_terminal() { CLEAR } else { "" };
    let mut client = connection::connect(matches).await?;
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
        if top.unsettled_bytes > 0 {
            let _ = write!(out, ", being given back {}", bytes(top.unsettled_bytes));
        }
        if let Some(seconds) = top.full_in_s {
            let _ = write!(out, ", full in {}", duration(seconds));
        }
        if top.alarm {
            out.push_str(", NOSPACE: what grows is refused");
        }
        for state in &top.over_budget {
            let _ = write!(out, "\nover budget: {}", over_budget(state));
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
            "unsettled_bytes": top.unsettled_bytes,
            "quota_bytes": top.quota_bytes,
            "full_in_s": top.full_in_s,
            "alarm": top.alarm,
            "over_budget": top.over_budget.iter().map(crate::budget::as_json).collect::<Vec<_>>(),
            "accounts_total": top.accounts_total,
            "accounts": accounts,
        });
        format!("{answer}\n")
    }
}

/// The figures that are limited, as used of the limit: the hard one, or else the soft one.
fn over_budget(state: &BudgetState) -> String {
    let budget = state.budget.clone().unwrap_or_default();
    let (soft, hard) = (budget.soft.unwrap_or_default(), budget.hard.unwrap_or_default());
    let mut out = budget.prefix.escape_ascii().to_string();
    let mut figure = |name: &str, used: String, limit: Option<String>| {
        if let Some(limit) = limit {
            let _ = write!(out, " {name} {used} of {limit},");
        }
    };
    figure("bytes", bytes(state.bytes), hard.bytes.or(soft.bytes).map(bytes));
    figure("keys", state.keys.to_string(), hard.keys.or(soft.keys).map(|keys| keys.to_string()));
    let writes = hard.writes_per_second.or(soft.writes_per_second);
    figure("writes/s", state.writes_per_second.to_string(), writes.map(|writes| writes.to_string()));
    let _ = write!(out, " {} refused", state.refused);
    out
}

/// With three digits and a binary unit.
pub fn bytes(bytes: u64) -> String {
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
    use proto::bowline::{Budget, Limits};

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
        let limits = |bytes, keys| Some(Limits { bytes, keys, writes_per_second: None });
        let budget =
            Budget { prefix: "/registry/pods".into(), soft: limits(Some(1024), Some(2)), hard: limits(None, Some(5)) };
        let over = BudgetState { budget: Some(budget), bytes: 1536, keys: 3, refused: 7, ..BudgetState::default() };
        let top = TopResponse {
            retained_bytes: 950 << 20,
            physical_bytes: 1 << 30,
            quota_bytes: Some(1000 << 20),
            alarm: true,
            full_in_s: Some(11_000),
            accounts_total: 5,
            accounts,
            over_budget: vec![over],
            unsettled_bytes: 50 << 20,
        };
        Answer { at, top }
    }

    #[test]
    fn a_picture_has_figures_rates_and_no_control_bytes() {
        let start = Instant::now();
        let (before, now) = (answer(start, 10), answer(start + Duration::from_secs(2), 35));
        let expected =
            "retained 950 MiB of 1.0 GiB (95.0 %), on disk 1.0 GiB, being given back 50.0 MiB, full in 3 h, NOSPACE: what grows is refused
over budget: /registry/pods bytes 1.5 KiB of 1.0 KiB, keys 3 of 5, 7 refused
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
        assert_eq!(json["over_budget"][0]["used"]["keys"], 3);
    }

    #[test]
    fn bytes_and_durations_are_short() {
        let texts = [0, 999, 1000, 1 << 20, 123 << 20, u64::MAX].map(bytes);
        assert_eq!(texts, ["0 B", "999 B", "1.0 KiB", "1.0 MiB", "123 MiB", "16777216 TiB"]);
        assert_eq!([0, 119, 120, 7200, 172_800].map(duration), ["0 s", "119 s", "2 min", "2 h", "2 d"]);
    }
}
