//! The scheduler: which part runs next, when time goes on, when a client asks and when something goes wrong, all by
//! seed.

use crate::checker::{Checked, Checker, UNREAD, Violation};
use crate::client::{Answer, Client, Flight, Request, RequestNumber};
use crate::clock::SimClock;
use crate::faults::{Fault, Faults};
use crate::member::{CLIENT_URL, Member, NAME, REQUEST_TIMEOUT, Settings, TICK, any_quota};
use crate::reading::{self, Unread, Watch};
use crate::trace::{Keep, Trace};
use io::Clock;
use model::{Command, Revision};
use node::{Part, Reply};
use simdisk::Random;
use std::future::Future;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

/// Requests that clients have open at a time.
const FLIGHTS_MAX: usize = 24;
/// A request may be answered this much later than its timeout: ticks are what notices.
const ANSWER_SLACK: Duration = Duration::from_secs(1);
/// An orderly stop waits so long for a disk, and is noticed by a tick.
const STOP_MAX: Duration = Duration::from_millis(3_000 + 500);
/// How soon a member must acknowledge a write once nothing goes wrong any more.
const PROGRESS_MAX: Duration = Duration::from_secs(20);
/// The longest lease, and what a leader may take to end it.
const LEASES_END_MAX: Duration = Duration::from_secs(60);
/// How often a part that has nothing to do looks around, and one whose disk is full tries again.
const BACKGROUND_INTERVAL: Duration = Duration::from_millis(50);
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Leases and space are looked at so often.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub seed: u64,
    /// Simulated time in which things go wrong.
    pub lasts: Duration,
    pub keep: Keep,
    /// The disk lies about syncs; the run must then find a violation.
    pub syncs_lie: bool,
}

/// What became of it.
#[derive(Debug)]
pub struct Report {
    pub simulated: Duration,
    pub trace: Trace,
    pub violation: Option<Violation>,
    pub crashes: u64,
    pub requests: u64,
    pub acknowledged: u64,
    /// Segments of the store that were given back.
    pub segments_removed: u64,
}

pub fn run(run: &Run) -> Report {
    let mut world = World::new(run);
    let violation = world.run(run.lasts).err();
    if let Some(violation) = &violation {
        world.trace.say(world.clock.monotonic(), format_args!("violation: {violation}"));
    }
    Report {
        simulated: world.clock.monotonic(),
        trace: world.trace,
        violation,
        crashes: world.crashes,
        requests: world.requests,
        acknowledged: world.acknowledged,
        segments_removed: world.segments_removed,
    }
}

type Publishing = Pin<Box<dyn Future<Output = Result<(), node::Refused>>>>;

/// What surrounds a member.
struct World {
    random: Random,
    clock: Arc<SimClock>,
    faults: Faults,
    client: Client,
    member: Member,
    checker: Checker,
    trace: Trace,
    flights: Vec<Flight>,
    watch: Option<Watch>,
    /// The member makes itself known.
    publishing: Option<Publishing>,
    /// The member leads, with its log applied.
    is_ready: bool,
    heals: bool,
    parts: [PartRun; 4],
    /// When the disk has space again.
    full_until: Option<Duration>,
    /// When it reads again.
    unreadable_until: Option<Duration>,
    stopping_since: Option<Duration>,
    /// When it is started again.
    start_at: Duration,
    looked_at: Duration,
    /// Apply was kept from running until then.
    apply_late_until: Duration,
    crashes: u64,
    requests: u64,
    acknowledged: u64,
    /// Of them, plain puts.
    puts: u64,
    segments_removed: u64,
    /// Of them, by the member that runs.
    segments_removed_now: u64,
}

/// How a part is run.
#[derive(Debug, Clone, Copy, Default)]
struct PartRun {
    stepped_at: Duration,
    /// It is kept from running.
    stalled_until: Duration,
}

impl World {
    fn new(run: &Run) -> World {
        let stream = |number: u64| Random::new(run.seed.wrapping_mul(16).wrapping_add(number));
        let mut random = stream(0);
        let clock = Arc::new(SimClock::default());
        let settings = Settings {
            checkpoint_entries: [20, 100, 1_000][random.below(3) as usize],
            quota_bytes: (random.below(4) == 0).then(|| any_quota(&mut random)),
            // A watch that cannot be read for a while must find its history again.
            pressure_retention: random.coin().then(|| Duration::from_millis(3_000 + random.below(9_000))),
            syncs_lie: run.syncs_lie,
        };
        World {
            faults: Faults::new(stream(1)),
            client: Client::new(stream(2)),
            member: Member::new(settings, clock.clone(), stream(3)),
            checker: Checker::new(settings.quota_bytes.is_some(), settings.pressure_retention.is_some()),
            trace: Trace::new(run.keep),
            random,
            clock,
            flights: Vec::new(),
            watch: None,
            publishing: None,
            is_ready: false,
            heals: false,
            parts: [PartRun::default(); 4],
            full_until: None,
            unreadable_until: None,
            stopping_since: None,
            start_at: Duration::ZERO,
            looked_at: Duration::ZERO,
            apply_late_until: Duration::ZERO,
            crashes: 0,
            requests: 0,
            acknowledged: 0,
            segments_removed: 0,
            segments_removed_now: 0,
            puts: 0,
        }
    }

    fn run(&mut self, lasts: Duration) -> Checked {
        while self.now() < lasts {
            self.turn()?;
        }
        self.heal()?;
        self.check_progress()?;
        self.check_end()
    }

    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    fn say(&mut self, event: std::fmt::Arguments<'_>) {
        self.trace.say(self.clock.monotonic(), event);
    }

    /// One event.
    fn turn(&mut self) -> Checked {
        let now = self.now();
        if !self.heals
            && let Some(fault) = self.faults.due(now)
            && self.member.is_running()
        {
            self.strike(fault);
        }
        if self.full_until.is_some_and(|until| now >= until) {
            self.full_until = None;
            self.member.disk().set_capacity(None);
            self.say(format_args!("the disk has space again"));
        }
        if self.unreadable_until.is_some_and(|until| now >= until) {
            self.unreadable_until = None;
            self.member.disk().fail_reads(false);
            self.say(format_args!("the disk reads again"));
        }
        if !self.member.is_running() {
            if now < self.start_at {
                self.advance(self.start_at - now);
                return Ok(());
            }
            return self.start();
        }
        let asks = self.client_asks();
        match self.choose(asks) {
            Some(Choice::Step(part)) => self.step(part)?,
            Some(Choice::Ask) => self.ask(),
            None => {
                let longest_us = if asks || self.has_work() { 500 } else { 20_000 };
                let by = Duration::from_micros(1 + self.random.below(longest_us));
                self.advance(by);
            }
        }
        self.look()
    }

    fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
    }

    fn client_asks(&self) -> bool {
        !self.heals && self.now() >= self.client.next_at() && self.flights.len() < FLIGHTS_MAX
    }

    fn has_work(&self) -> bool {
        Part::ALL.iter().any(|&part| self.wants_step(part))
    }

    /// One of all that could happen now; `None` lets time go on.
    fn choose(&mut self, asks: bool) -> Option<Choice> {
        let mut choices = [None; 6];
        let mut count = 1;
        for part in Part::ALL {
            if self.wants_step(part) {
                choices[count] = Some(Choice::Step(part));
                count += 1;
            }
        }
        if asks {
            choices[count] = Some(Choice::Ask);
            count += 1;
        }
        choices[self.random.below(count as u64) as usize]
    }

    fn wants_step(&self, part: Part) -> bool {
        let now = self.now();
        let PartRun { stepped_at, stalled_until } = self.parts[part as usize];
        if now < stalled_until {
            return false;
        }
        let since = now - stepped_at;
        let is_sick = self.member.handle().is_some_and(|handle| handle.status().is_sick());
        match part {
            // Whoever tries a full disk again takes its time.
            Part::Log | Part::Apply if is_sick && since < RETRY_INTERVAL => false,
            Part::Background if since >= BACKGROUND_INTERVAL => true,
            _ => self.member.has_work(part),
        }
    }

    fn step(&mut self, part: Part) -> Checked {
        self.parts[part as usize].stepped_at = self.now();
        let alone = part == Part::Apply && self.random.coin() && self.member.step_apply_lone();
        if !alone {
            self.member.step(part);
        }
        let steps = self.member.disk().steps();
        self.say(format_args!("{part:?}{} disk {steps}", if alone { " alone" } else { "" }));
        if self.read_events()? {
            self.poll()?;
        }
        if let Some(fault) = self.member.fault() {
            self.say(format_args!("the member gives up: {fault}"));
            if !self.member.disk().is_off() {
                self.crash(Crash::Kill);
            }
        }
        if self.member.disk().is_off() {
            self.crash(Crash::Power);
        }
        Ok(())
    }

    /// What a watcher sees is taken in before any answer. False if it cannot be read now.
    fn read_events(&mut self) -> Checked<bool> {
        let (Some(handle), Some(watch)) = (self.member.handle(), &mut self.watch) else { return Ok(true) };
        let read = match watch.read(handle) {
            Ok(read) => read,
            // Seen after the next start.
            Err(Unread::Failed(_)) if self.member.disk().is_off() => return Ok(true),
            Err(Unread::Failed(_)) if self.unreadable_until.is_some() => {
                *watch = Watch::new(handle, Revision(self.checker.history().revision().0 + 1));
                return Ok(false);
            }
            Err(error) => return Err(format!("watch: {error:?}")),
        };
        let now = self.now();
        for (revision, changes) in read {
            self.say(format_args!("event at {revision}: {} changes", changes.len()));
            self.checker.saw(revision, changes, now)?;
        }
        Ok(true)
    }

    fn poll(&mut self) -> Checked {
        let Some(handle) = self.member.handle().cloned() else { return Ok(()) };
        if let Some(publishing) = &mut self.publishing
            && publishing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        {
            self.publishing = None;
        }
        if !self.is_ready && handle.read_now().is_some() {
            self.is_ready = true;
            self.say(format_args!("ready at revision {}", handle.view().revision()));
            self.checker.settle(self.member.lives())?;
            self.checker.check_state(&handle).or_else(|violation| self.unless_off(violation))?;
        }
        let mut at = 0;
        while at < self.flights.len() {
            let Some(answer) = self.flights[at].poll() else {
                at += 1;
                continue;
            };
            let flight = self.flights.remove(at);
            let is_done = matches!(&answer, Answer::Write(Ok(Reply { answer: Ok(_), .. })));
            self.acknowledged += u64::from(is_done);
            self.puts += u64::from(is_done && matches!(flight.request, Request::Write(Command::Put(_))));
            match self.checker.answered(&flight, answer, &handle, self.now()) {
                Ok(line) => self.say(format_args!("request {} {line}", flight.number.0)),
                Err(violation) => self.unless_off(violation)?,
            }
        }
        Ok(())
    }

    /// What cannot be read, because the power is gone or the disk reads nothing, says nothing.
    fn unless_off(&self, violation: Violation) -> Checked {
        let is_unread = self.unreadable_until.is_some() && violation.starts_with(UNREAD);
        if self.member.disk().is_off() || is_unread { Ok(()) } else { Err(violation) }
    }

    fn ask(&mut self) {
        let now = self.now();
        let (number, request) = self.client.next(now, self.checker.history());
        self.send(number, request);
    }

    fn send(&mut self, number: RequestNumber, request: Request) {
        let Some(handle) = self.member.handle() else { return };
        let flight = Flight::send(number, request, handle, self.clock.monotonic(), self.checker.known());
        self.checker.sent(&flight, self.member.lives());
        let event = summary(&flight.request);
        self.requests += 1;
        self.flights.push(flight);
        self.say(format_args!("request {}: {event}", number.0));
    }

    fn strike(&mut self, fault: Fault) {
        self.say(format_args!("fault: {fault:?}"));
        let disk = self.member.disk();
        let now = self.clock.monotonic();
        match fault {
            Fault::PowerCut { steps } => disk.power_off_at(disk.steps() + steps),
            Fault::Kill => self.crash(Crash::Kill),
            Fault::Eio { steps } => disk.fail_at(disk.steps() + steps, ErrorKind::Other),
            Fault::NoSpaceOnce { steps } => disk.fail_at(disk.steps() + steps, ErrorKind::StorageFull),
            Fault::Full { room_bytes, lasts } => {
                disk.set_capacity(Some(disk.used() + room_bytes));
                self.full_until = Some(now + lasts);
            }
            // One does not follow on the other: the watch would miss more history than is kept.
            Fault::Unreadable { .. } if self.unreadable_until.is_some() => {}
            Fault::Unreadable { lasts } => {
                disk.fail_reads(true);
                self.unreadable_until = Some(now + lasts);
            }
            // Of a stop only the disk is to be judged.
            Fault::Stall { part, .. } if self.stopping_since.is_some() && part != Part::Log => {}
            Fault::Stall { part, lasts } => {
                self.parts[part as usize].stalled_until = now + lasts;
                if part == Part::Apply {
                    self.apply_late_until = self.apply_late_until.max(now + lasts);
                }
            }
            Fault::Stop if self.member.is_running() && self.stopping_since.is_none() => {
                self.stopping_since = Some(now);
                self.member.begin_stop();
                self.parts[Part::Apply as usize].stalled_until = now;
            }
            Fault::Stop => {}
            Fault::WallJump { to } => self.clock.set_wall(to),
        }
    }

    fn start(&mut self) -> Checked {
        let fault = if self.heals { None } else { self.faults.at_start() };
        if let Some(fault) = fault {
            self.strike(fault);
        }
        let started = self.member.start();
        let (life, steps) = (self.member.lives(), self.member.disk().steps());
        match started {
            Ok(()) => {
                self.say(format_args!("start {life}, disk {steps}"));
                let handle = self.member.handle().expect("it was just started").clone();
                self.watch = Some(Watch::new(&handle, Revision(self.checker.history().revision().0 + 1)));
                self.publishing = Some(Box::pin(async move { handle.publish(NAME, &[CLIENT_URL.to_owned()]).await }));
                self.parts = [PartRun { stepped_at: self.now(), stalled_until: Duration::ZERO }; 4];
                Ok(())
            }
            Err(error) => {
                self.say(format_args!("start {life} fails: {error}"));
                if self.member.disk().is_off() {
                    self.crash(Crash::Power);
                } else if fault.is_some() {
                    self.crash(Crash::Kill);
                } else {
                    return Err(format!("a sound disk was refused: {error}"));
                }
                Ok(())
            }
        }
    }

    fn crash(&mut self, crash: Crash) {
        self.crashes += 1;
        self.say(format_args!("crash: {crash:?}"));
        self.forget_life();
        match crash {
            Crash::Kill => self.member.kill(),
            Crash::Power => self.member.cut_power(self.faults.random()),
        }
        self.full_until = None;
        self.unreadable_until = None;
    }

    /// Nobody hears of it any more.
    fn forget_life(&mut self) {
        for flight in std::mem::take(&mut self.flights) {
            self.say(format_args!("request {} is lost", flight.number.0));
        }
        self.publishing = None;
        self.watch = None;
        self.is_ready = false;
        self.stopping_since = None;
        self.segments_removed_now = 0;
        self.start_at = self.now() + Duration::from_millis(self.random.below(1_500));
    }

    /// Bounds of time and space, and what is due now.
    fn look(&mut self) -> Checked {
        if let Some(since) = self.stopping_since {
            return self.look_at_stop(since);
        }
        let now = self.now();
        if !self.member.is_running() || now - self.looked_at < LOOK_INTERVAL {
            return Ok(());
        }
        self.looked_at = now;
        let Some(handle) = self.member.handle().cloned() else { return Ok(()) };
        let removed = handle.view().reclaim_stats().segments_removed;
        self.segments_removed += removed.saturating_sub(self.segments_removed_now);
        self.segments_removed_now = removed;
        let status = handle.status();
        if status.store_failed {
            self.say(format_args!("the store failed: the member is restarted"));
            self.crash(Crash::Kill);
            return Ok(());
        }
        for flight in self.flights.iter().filter(|flight| !flight.waits_for_space()) {
            let latest = flight.sent_at.max(self.apply_late_until) + REQUEST_TIMEOUT + ANSWER_SLACK;
            if now > latest {
                return Err(format!("request {} waits since {:?}", flight.number.0, flight.sent_at));
            }
        }
        if self.is_ready {
            self.checker.check_leases(&handle, now)?;
        }
        match reading::size_excess(&handle.view()) {
            Some(excess) if !status.disk_full() => Err(excess),
            _ => Ok(()),
        }
    }

    fn look_at_stop(&mut self, since: Duration) -> Checked {
        if self.member.is_stopped() {
            self.finish();
        } else if self.member.is_running() && self.now() > since + STOP_MAX {
            return Err(format!("a stop lasts since {since:?}"));
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.member.finish();
        let steps = self.member.disk().steps();
        self.say(format_args!("stopped, disk {steps}"));
        self.forget_life();
        if self.member.disk().is_off() {
            self.crash(Crash::Power);
        } else {
            self.member.kill();
            self.full_until = None;
            self.unreadable_until = None;
        }
    }

    /// From here on nothing goes wrong any more.
    fn heal(&mut self) -> Checked {
        self.say(format_args!("everything is healed"));
        self.heals = true;
        if self.member.is_running() {
            // A fault of the disk may still be planned.
            self.crash(Crash::Kill);
        }
        self.parts = [PartRun::default(); 4];
        Ok(())
    }

    fn check_progress(&mut self) -> Checked {
        let since = self.now();
        let before = self.puts;
        while self.puts == before {
            if self.now() > since + PROGRESS_MAX {
                return Err(format!("nothing was acknowledged since {since:?}"));
            }
            if self.is_ready && self.flights.is_empty() {
                let (number, request) = self.client.probe(self.member.has_quota(), self.checker.history());
                self.send(number, request);
            }
            self.turn()?;
        }
        Ok(())
    }

    /// Leases end, a stop is orderly, and the member comes up with the same state.
    fn check_end(&mut self) -> Checked {
        let until = self.now() + LEASES_END_MAX;
        while self.now() < until {
            self.turn()?;
        }
        let handle = self.member.handle().ok_or("the member ended by itself")?.clone();
        self.checker.check_leases_ended(&handle)?;
        self.checker.settle(self.member.lives())?;
        self.checker.check_state(&handle)?;
        let before = handle.view().kv().hash_kv(Revision(0));
        drop(handle);
        self.strike(Fault::Stop);
        while !self.is_ready || self.stopping_since.is_some() {
            if self.now() > until + PROGRESS_MAX {
                return Err("the member does not come up again".to_owned());
            }
            self.turn()?;
        }
        let handle = self.member.handle().ok_or("the member ended by itself")?;
        let after = handle.view().kv().hash_kv(Revision(0));
        if after != before {
            return Err(format!("the hash of everything was {before:?}, after a restart it is {after:?}"));
        }
        Ok(())
    }
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Step(Part),
    Ask,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    Kill,
    Power,
}

/// A request in a few words.
fn summary(request: &Request) -> String {
    let mut text = format!("{request:?}");
    if let Some((end, _)) = text.char_indices().nth(160) {
        text.truncate(end);
    }
    text
}

const _: () = assert!(TICK.as_millis() < ANSWER_SLACK.as_millis());
