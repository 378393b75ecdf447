//! The watchers that get events as they come, grouped by range: an event is matched once per distinct range, and a list
//! of matched events is made once per range and filter, however many watchers share them.
//!
//! Invariants: a group has members; `place` of a member says where it stands in its list; `picked` is empty between
//! batches.

use crate::event::{Event, EventKind, Pick};
use crate::interval::{Interval, IntervalTree};
use crate::registry::WatcherId;
use bytes::Bytes;
use model::{KeyRange, RangeEnd, Revision};
use std::collections::HashMap;

/// Kinds of events that a watcher does not want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Filter {
    pub(crate) no_put: bool,
    pub(crate) no_delete: bool,
}

impl Filter {
    pub(crate) fn passes(self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }

    fn position(self) -> usize {
        usize::from(self.no_put) | usize::from(self.no_delete) << 1
    }

    /// In order of `position`.
    const ALL: [Filter; 4] = [
        Filter { no_put: false, no_delete: false },
        Filter { no_put: true, no_delete: false },
        Filter { no_put: false, no_delete: true },
        Filter { no_put: true, no_delete: true },
    ];
}

/// A watcher in a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) watcher: WatcherId,
    /// It gets no events below this revision.
    pub(crate) from: Revision,
}

/// Where a member stands: needed to take it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    group: u32,
    filter: Filter,
    pub(crate) at: u32,
}

#[derive(Debug)]
struct Group {
    range: KeyRange,
    /// By filter.
    lists: [List; 4],
    is_picked: bool,
}

#[derive(Debug, Default)]
struct List {
    members: Vec<Member>,
    /// Events of the batch being delivered.
    picked: Vec<Pick>,
}

#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: Vec<Option<Group>>,
    free: Vec<u32>,
    // hash order: only looked up, by an event's key or a watcher's range.
    singles: HashMap<Bytes, u32>,
    ranges: IntervalTree,
    /// Groups with events of the batch being delivered.
    picked: Vec<u32>,
}

impl Groups {
    pub(crate) fn add(&mut self, range: &KeyRange, filter: Filter, member: Member) -> Place {
        let number = self.number_of(range).unwrap_or_else(|| self.create(range));
        let group = slot(&mut self.groups, number);
        let list = &mut group.lists[filter.position()];
        list.members.push(member);
        Place { group: number, filter, at: list.members.len() as u32 - 1 }
    }

    /// Takes a member out. Another one may come to stand in its place; answers that one.
    pub(crate) fn remove(&mut self, place: Place) -> Option<WatcherId> {
        let group = slot(&mut self.groups, place.group);
        let list = &mut group.lists[place.filter.position()];
        assert!(list.picked.is_empty(), "nobody leaves while a batch is delivered");
        list.members.swap_remove(place.at as usize);
        let moved = list.members.get(place.at as usize).map(|member| member.watcher);
        if group.lists.iter().all(|list| list.members.is_empty()) {
            self.destroy(place.group);
        }
        moved
    }

    pub(crate) fn member(&self, place: Place) -> Option<Member> {
        let group = self.groups.get(place.group as usize)?.as_ref()?;
        group.lists[place.filter.position()].members.get(place.at as usize).copied()
    }

    /// Number of distinct ranges.
    pub(crate) fn len(&self) -> usize {
        self.groups.len() - self.free.len()
    }

    /// Remembers the event, at `pick` in the lists to come, for everybody who wants it.
    pub(crate) fn pick(&mut self, event: &Event, at: Pick) {
        let Groups { groups, singles, ranges, picked, .. } = self;
        let mut pick = |number: u32| {
            let group = slot(groups, number);
            for (filter, list) in Filter::ALL.into_iter().zip(&mut group.lists) {
                if !list.members.is_empty() && filter.passes(event.kind) {
                    list.picked.push(at);
                    if !group.is_picked {
                        group.is_picked = true;
                        picked.push(number);
                    }
                }
            }
        };
        if let Some(&number) = singles.get(&event.key) {
            pick(number);
        }
        ranges.matching(&event.key, &mut pick);
    }

    /// Hands out what was picked: for each list its members and their events.
    pub(crate) fn take_picked(&mut self, mut deliver: impl FnMut(&[Member], Box<[Pick]>)) {
        for number in self.picked.drain(..) {
            let group = slot(&mut self.groups, number);
            group.is_picked = false;
            for list in &mut group.lists {
                if !list.picked.is_empty() {
                    deliver(&list.members, list.picked.drain(..).collect());
                }
            }
        }
    }

    fn number_of(&self, range: &KeyRange) -> Option<u32> {
        match interval(range) {
            Some(interval) => self.ranges.get(&interval),
            None => self.singles.get(&range.start).copied(),
        }
    }

    fn create(&mut self, range: &KeyRange) -> u32 {
        let group = Group { range: range.clone(), lists: Default::default(), is_picked: false };
        let number = self.free.pop().unwrap_or(self.groups.len() as u32);
        match self.groups.get_mut(number as usize) {
            Some(free) => *free = Some(group),
            None => self.groups.push(Some(group)),
        }
        match interval(range) {
            Some(interval) => self.ranges.insert(interval, number),
            None => drop(self.singles.insert(range.start.clone(), number)),
        }
        number
    }

    fn destroy(&mut self, number: u32) {
        let Some(group) = self.groups.get_mut(number as usize).and_then(Option::take) else { return };
        self.free.push(number);
        match interval(&group.range) {
            Some(interval) => drop(self.ranges.remove(&interval)),
            None => drop(self.singles.remove(&group.range.start)),
        }
    }
}

fn slot(groups: &mut [Option<Group>], number: u32) -> &mut Group {
    let group = groups.get_mut(number as usize).and_then(Option::as_mut);
    group.expect("a group's number is forgotten when it ends")
}

/// A range of more than one key; `None` for a single key.
fn interval(range: &KeyRange) -> Option<Interval> {
    let end = match &range.end {
        RangeEnd::Single => return None,
        RangeEnd::Before(end) => Some(end.clone()),
        RangeEnd::Unbounded => None,
    };
    Some(Interval { start: range.start.clone(), end })
}
