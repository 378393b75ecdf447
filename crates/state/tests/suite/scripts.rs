//! Runs `testscripts/*.txt`: commands and what they answer.

use crate::script_parser::Words;
use crate::world::{End, RangeSaid, Said, World, range, say_txn};
use model::{
    Alarm, AlarmAction, AlarmKind, Budget, Command, Compact, KeyValue, LeaseCheckpoint, LeaseGrant, LeaseId, Limits,
    MemberId, MemberPublish, Put, PutLease, PutValue, Rejection, Revision, SpaceSettle,
};
use mvcc::Change;
use state::{ActiveAlarm, Applied, BudgetState, Operations, Quota};

#[test]
fn scripts() {
    let runner = || Runner { world: World::new(Quota(None)), output: String::new() };
    golden::check(env!("CARGO_MANIFEST_DIR"), 6, runner, |runner, line, out| {
        runner.run(line);
        out.push_str(&std::mem::take(&mut runner.output));
    });
}

struct Runner {
    world: World,
    output: String,
}

impl Runner {
    fn line(&mut self, line: &str) {
        self.output.push_str(line);
        self.output.push('\n');
    }

    /// `put-bytes KEY BYTES [TIMES]`: values of so many bytes, again and again; shows what the last put answered.
    fn put_bytes(&mut self, words: &mut Words) {
        let (key, bytes): (String, usize) = (words.next(), words.number());
        let times = if words.is_empty() { 1 } else { words.number() };
        for time in 1..=times {
            let put = Put {
                key: key.clone().into(),
                value: PutValue::Set(vec![b'x'; bytes].into()),
                lease: PutLease::Set(LeaseId::NONE),
                prev_kv: false,
            };
            let applied = self.world.apply(Command::Put(put));
            if time == times {
                self.print_applied(&applied);
            }
        }
    }

    fn run(&mut self, line: &str) {
        let mut words = Words::new(line);
        let command = match words.next().as_str() {
            "put" => Command::Put(words.put()),
            "del" => Command::DeleteRange(words.delete()),
            "txn" => Command::Txn(words.txn()),
            "compact" => Command::Compact(Compact { revision: Revision(words.number()), physical: false }),
            "space-compact" => Command::SpaceCompact(Revision(words.number())),
            "grant" => Command::LeaseGrant(LeaseGrant { id: LeaseId(words.number()), ttl_s: words.number() }),
            "revoke" => Command::LeaseRevoke(LeaseId(words.number())),
            "lease-checkpoint" => {
                let mut remaining = Vec::new();
                while !words.is_empty() {
                    remaining.push((LeaseId(words.number()), words.number()));
                }
                Command::LeaseCheckpoint(LeaseCheckpoint { remaining })
            }
            "alarm" => Command::Alarm(alarm(&mut words)),
            "publish" => {
                let member = match words.next().as_str() {
                    "self" => self.world.state.membership().members().next().expect("one member").id,
                    other => MemberId(other.parse().expect("a member")),
                };
                let name = words.next();
                let client_urls = std::iter::from_fn(|| (!words.is_empty()).then(|| words.next())).collect();
                Command::MemberPublish(MemberPublish { member, name, client_urls })
            }
            "settle" => Command::SpaceSettle(SpaceSettle {
                compacted: Revision(words.number()),
                unsettled_bytes: words.number(),
            }),
            "budget" => Command::BudgetSet(budget(&mut words)),
            "no-budget" => Command::BudgetRemove(words.next().into()),
            "cluster-version" => Command::ClusterVersionSet(words.next()),
            other => return self.look(other, &mut words),
        };
        let applied = self.world.apply(command);
        self.print_applied(&applied);
    }

    /// What is not a command of the log.
    fn look(&mut self, name: &str, words: &mut Words) {
        match name {
            "put-bytes" => self.put_bytes(words),
            "get" => {
                let said = range(&self.world.view(), &words.range());
                let said = said.map_or_else(|rejection| rejected(&rejection), |said| show_range(&said));
                self.line(&said);
            }
            "read" => {
                let view = self.world.view();
                let said = match view.txn(&words.txn(), &mut Operations::default()).expect("the disk works") {
                    Ok(outcome) => show(&say_txn(&view, &outcome)),
                    Err(rejection) => rejected(&rejection),
                };
                self.line(&said);
            }
            "quota" => self.world = World::new(Quota(Some(words.number()))),
            "quota-as-etcd" => self.world = World::with_latch(Quota(Some(words.number())), true),
            "time" => self.world.leader_time_ms = words.number(),
            "term" => self.world.next_term(),
            "retained" => {
                let view = self.world.view();
                let unsettled = match view.unsettled_bytes() {
                    0 => String::new(),
                    bytes => format!(", {bytes} of them unsettled"),
                };
                self.line(&format!("retained {}{unsettled}", view.retained_bytes()));
            }
            "leases" => self.print_leases(),
            "budgets" => self.print_budgets(),
            "alarms" => {
                let alarms: Vec<_> = self.world.view().alarms().iter().map(show_alarm).collect();
                self.line(&format!("alarms: {}", alarms.join(", ")));
            }
            "members" => self.print_members(),
            "checkpoint" => self.world.checkpoint(),
            "restart" => {
                self.world.restart(End::Killed);
                let applied = self.world.state.applied();
                self.line(&format!("applied {} revision={}", applied.index, self.world.state.revision()));
            }
            other => panic!("unknown command {other}"),
        }
    }

    fn print_applied(&mut self, applied: &Applied) {
        let said = match &applied.answer {
            Ok(outcome) => match self.world.say(outcome) {
                Said::Other(_) => match outcome {
                    state::Outcome::Alarm(alarms) => {
                        let alarms: Vec<_> = alarms.iter().copied().map(show_alarm).collect();
                        format!("alarms changed: {}", alarms.join(", "))
                    }
                    state::Outcome::LeaseGrant { id, ttl_s } => format!("granted {id} for {ttl_s} s"),
                    _ => "done".to_string(),
                },
                said => show(&said),
            },
            Err(rejection) => rejected(rejection),
        };
        let raised = match applied.no_space {
            Some(state::NoSpace::Raised) => "  raised NoSpace",
            Some(state::NoSpace::Cleared) => "  cleared NoSpace",
            None => "",
        };
        self.line(&format!("{said}  revision={}{raised}", applied.revision));
        if let Some(change) = &applied.change {
            let events = self.show_change(change);
            self.line(&format!("  events {events}"));
        }
    }

    fn show_change(&self, change: &Change) -> String {
        let events = change.events.iter().map(|event| {
            let sign = if event.kv.is_some() { "" } else { "-" };
            let prev = if event.prev.is_some() { "" } else { " (no pair before)" };
            format!("{sign}{}@{}{prev}", String::from_utf8_lossy(&event.key), event.at)
        });
        events.collect::<Vec<_>>().join(", ")
    }

    fn print_leases(&mut self) {
        let live = self.world.live();
        let mut lines = Vec::new();
        for (id, ends_at_ms) in live.leases().all() {
            let granted = live.leases().granted_ttl_s(id).unwrap_or(0);
            let keys: Vec<_> =
                live.leases().keys(id).iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
            lines.push(format!("lease {id} granted {granted} s ends at {ends_at_ms} ms keys [{}]", keys.join(" ")));
        }
        if lines.is_empty() {
            lines.push("no leases".to_string());
        }
        lines.iter().for_each(|line| self.line(line));
    }

    fn print_budgets(&mut self) {
        let states = self.world.live().budgets().list(self.world.leader_time_ms);
        if states.is_empty() {
            self.line("no budgets");
        }
        for BudgetState { budget, usage, writes_per_second, writes_left, refused } in states {
            let limits = |limits: &Limits| {
                let set = limits.each().into_iter().filter_map(|(figure, limit)| Some((figure.name(), limit?)));
                set.map(|(name, limit)| format!(" {name}={limit}")).collect::<String>()
            };
            let left = writes_left.map_or(String::new(), |left| format!(", {left} writes left"));
            self.line(&format!(
                "{} soft{} hard{}: {} bytes, {} keys, {writes_per_second} writes/s{left}, {refused} refused",
                String::from_utf8_lossy(&budget.prefix),
                limits(&budget.soft),
                limits(&budget.hard),
                usage.retained_bytes,
                usage.keys,
            ));
        }
    }

    fn print_members(&mut self) {
        let membership = self.world.state.membership().clone();
        self.line(&format!("cluster {:x} version {:?}", membership.cluster(), membership.cluster_version()));
        for member in membership.members() {
            let (peers, clients) = (member.peer_urls.join(","), member.client_urls.join(","));
            self.line(&format!("  {:x} {:?} peers {peers} clients {clients}", member.id, member.name));
        }
    }
}

/// `PREFIX [hard-bytes=N] [hard-keys=N] [hard-writes=N] [soft-…=N]`
fn budget(words: &mut Words) -> Budget {
    let mut budget = Budget { prefix: words.next().into(), soft: Limits::default(), hard: Limits::default() };
    while !words.is_empty() {
        let word = words.next();
        let (name, limit) = word.split_once('=').expect("name=limit");
        let limits = if name.starts_with("soft-") { &mut budget.soft } else { &mut budget.hard };
        let figure = match name.split_once('-') {
            Some((_, "bytes")) => &mut limits.bytes,
            Some((_, "keys")) => &mut limits.keys,
            Some((_, "writes")) => &mut limits.writes_per_second,
            other => panic!("unknown limit {other:?}"),
        };
        *figure = Some(limit.parse().expect("a number"));
    }
    budget
}

fn alarm(words: &mut Words) -> Alarm {
    let action = match words.next().as_str() {
        "raise" => AlarmAction::Activate,
        "clear" => AlarmAction::Deactivate,
        other => panic!("unknown action {other}"),
    };
    let kind = match words.next().as_str() {
        "none" => AlarmKind::None,
        "no-space" => AlarmKind::NoSpace,
        "corrupt" => AlarmKind::Corrupt,
        other => panic!("unknown alarm {other}"),
    };
    Alarm { action, kind, member: MemberId(words.number()) }
}

fn show_alarm(alarm: ActiveAlarm) -> String {
    format!("{:?} of {:x}", alarm.kind, alarm.member)
}

fn rejected(rejection: &Rejection) -> String {
    format!("rejected: {rejection}")
}

fn show(said: &Said) -> String {
    match said {
        Said::Put(None) => "put".to_string(),
        Said::Put(Some(prev)) => format!("put, before {}", show_pair(prev)),
        Said::DeleteRange(deleted, prev) if prev.is_empty() => format!("deleted {deleted}"),
        Said::DeleteRange(deleted, prev) => {
            format!("deleted {deleted}: {}", prev.iter().map(show_pair).collect::<Vec<_>>().join(" "))
        }
        Said::Range(said) => show_range(said),
        Said::Txn(succeeded, said) => {
            let branch = if *succeeded { "then" } else { "else" };
            let said: Vec<_> = said.iter().map(show).collect();
            format!("{branch} [{}]", said.join("; "))
        }
        Said::Other(said) => said.clone(),
    }
}

fn show_range(said: &RangeSaid) -> String {
    let pairs: Vec<_> = said.pairs.iter().map(show_pair).collect();
    let more = if said.more { " more" } else { "" };
    format!("({}) count={}{more} at {}", pairs.join(" "), said.count, said.revision)
}

/// `key=value` with creation, modification and version, and the lease if there is one.
fn show_pair(kv: &KeyValue) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let lease = if kv.lease.is_none() { String::new() } else { format!(" lease {}", kv.lease) };
    let (key, value) = (text(&kv.key), text(&kv.value));
    format!("{key}={value}{{{} {} v{}{lease}}}", kv.create_revision, kv.mod_revision, kv.version)
}
