//! The alarms that are up: pairs of a kind and the member that it is about.
//!
//! What an alarm forbids is decided in `apply`; here they are only kept. Any member id is accepted, as in etcd: an
//! alarm may outlive its member. An alarm that the quota raised is remembered as such: that one the quota clears, and
//! one that somebody else raised is cleared by whoever disarms it.

use model::{AlarmKind, MemberId};
use std::collections::BTreeSet;

/// One alarm that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActiveAlarm {
    pub kind: AlarmKind,
    pub member: MemberId,
}

/// All alarms that are up, ordered by kind and member. Never holds `AlarmKind::None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlarmTable {
    active: BTreeSet<ActiveAlarm>,
    /// The NOSPACE alarm that the quota raised; one of the active ones.
    by_quota: Option<MemberId>,
}

impl AlarmTable {
    /// Raises an alarm; answers it, also if it was up before. `AlarmKind::None` raises nothing.
    pub(crate) fn activate(&mut self, alarm: ActiveAlarm) -> Option<ActiveAlarm> {
        if alarm.kind == AlarmKind::None {
            return None;
        }
        self.active.insert(alarm);
        Some(alarm)
    }

    /// Clears exactly this alarm; answers it if it was up.
    pub(crate) fn deactivate(&mut self, alarm: ActiveAlarm) -> Option<ActiveAlarm> {
        if self.is_by_quota(alarm) {
            self.by_quota = None;
        }
        self.active.take(&alarm)
    }

    /// Raises NOSPACE because the quota is met, unless it is up.
    pub(crate) fn raise_by_quota(&mut self, member: MemberId) {
        if self.active.insert(no_space(member)) {
            self.by_quota = Some(member);
        }
    }

    /// Clears what the quota raised.
    pub(crate) fn clear_by_quota(&mut self) {
        if let Some(member) = self.by_quota {
            let cleared = self.deactivate(no_space(member));
            assert!(cleared.is_some(), "what the quota raised is up until it is cleared");
        }
    }

    /// The member for which the quota raised NOSPACE, while that is up.
    pub fn by_quota(&self) -> Option<MemberId> {
        self.by_quota
    }

    pub(crate) fn is_by_quota(&self, alarm: ActiveAlarm) -> bool {
        self.by_quota.map(no_space) == Some(alarm)
    }

    /// True if somebody other than the quota raised NOSPACE.
    pub(crate) fn no_space_by_hand(&self) -> bool {
        self.of_kind(AlarmKind::NoSpace).any(|alarm| !self.is_by_quota(alarm))
    }

    /// True if an alarm of this kind is up for any member.
    pub fn is_active(&self, kind: AlarmKind) -> bool {
        self.iter().any(|alarm| alarm.kind == kind)
    }

    /// The alarms of one kind, or all for `AlarmKind::None`, by kind and member.
    pub fn of_kind(&self, kind: AlarmKind) -> impl Iterator<Item = ActiveAlarm> + '_ {
        self.iter().filter(move |alarm| kind == AlarmKind::None || alarm.kind == kind)
    }

    pub fn iter(&self) -> impl Iterator<Item = ActiveAlarm> + '_ {
        self.active.iter().copied()
    }

    pub fn len(&self) -> usize {
        self.active.len()
    }

    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }
}

fn no_space(member: MemberId) -> ActiveAlarm {
    ActiveAlarm { kind: AlarmKind::NoSpace, member }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_SPACE: ActiveAlarm = ActiveAlarm { kind: AlarmKind::NoSpace, member: MemberId(7) };

    #[test]
    fn an_alarm_is_cleared_only_by_its_exact_member_and_kind() {
        let mut alarms = AlarmTable::default();
        assert_eq!(alarms.activate(NO_SPACE), Some(NO_SPACE));
        assert_eq!(alarms.activate(NO_SPACE), Some(NO_SPACE));
        assert_eq!(alarms.len(), 1);
        assert_eq!(alarms.deactivate(ActiveAlarm { member: MemberId(8), ..NO_SPACE }), None);
        assert_eq!(alarms.deactivate(ActiveAlarm { kind: AlarmKind::Corrupt, ..NO_SPACE }), None);
        assert!(alarms.is_active(AlarmKind::NoSpace));
        assert_eq!(alarms.deactivate(NO_SPACE), Some(NO_SPACE));
        assert!(alarms.is_empty());
    }

    #[test]
    fn the_quota_clears_only_what_it_raised() {
        let mut alarms = AlarmTable::default();
        alarms.raise_by_quota(MemberId(7));
        assert_eq!((alarms.by_quota(), alarms.no_space_by_hand()), (Some(MemberId(7)), false));
        alarms.activate(ActiveAlarm { member: MemberId(8), ..NO_SPACE });
        assert!(alarms.no_space_by_hand());
        alarms.clear_by_quota();
        assert_eq!((alarms.by_quota(), alarms.len()), (None, 1));
        alarms.activate(NO_SPACE);
        alarms.raise_by_quota(MemberId(7));
        alarms.clear_by_quota();
        assert!(alarms.is_active(AlarmKind::NoSpace), "it was up before the quota was met");
        let mut alarms = AlarmTable::default();
        alarms.raise_by_quota(MemberId(7));
        assert_eq!(alarms.deactivate(NO_SPACE), Some(NO_SPACE));
        assert_eq!(alarms, AlarmTable::default());
    }

    #[test]
    fn none_raises_nothing_and_selects_everything() {
        let mut alarms = AlarmTable::default();
        assert_eq!(alarms.activate(ActiveAlarm { kind: AlarmKind::None, member: MemberId(1) }), None);
        let corrupt = ActiveAlarm { kind: AlarmKind::Corrupt, member: MemberId(1) };
        alarms.activate(corrupt);
        alarms.activate(NO_SPACE);
        assert_eq!(alarms.of_kind(AlarmKind::None).collect::<Vec<_>>(), [NO_SPACE, corrupt]);
        assert_eq!(alarms.of_kind(AlarmKind::Corrupt).collect::<Vec<_>>(), [corrupt]);
    }
}
