//! A state opened from a checkpoint and the log behind it is the state that was never closed.

use crate::random_commands::command;
use crate::world::{End, World};
use model::Command;
use proptest::prelude::*;
use state::Quota;

#[derive(Debug, Clone)]
enum Step {
    Apply(Command),
    Term,
    Pass(u64),
    Reclaim,
    Checkpoint,
    /// A checkpoint that is written but of which state is not told, as if the process ended in between.
    LostCheckpoint,
    Restart(End, Quota, bool),
}

fn quota() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![3 => Just(None), 1 => Just(Some(2_000u64)), 1 => Just(Some(1_000u64))]
}

fn step() -> impl Strategy<Value = Step> {
    let admin = prop_oneof![
        (0..3u64, any::<bool>(), any::<bool>()).prop_map(|(member, raise, corrupt)| {
            let action = if raise { model::AlarmAction::Activate } else { model::AlarmAction::Deactivate };
            let kind = if corrupt { model::AlarmKind::Corrupt } else { model::AlarmKind::NoSpace };
            Command::Alarm(model::Alarm { action, member: model::MemberId(member), kind })
        }),
        "[a-c]{1,3}".prop_map(|name| Command::MemberPublish(model::MemberPublish {
            member: model::MemberId(0x8e9e05c52164694d),
            client_urls: vec![format!("http://{name}:2379")],
            name,
        })),
        (0..9u8).prop_map(|minor| Command::ClusterVersionSet(format!("3.{minor}.0"))),
        (0..120_000u64).prop_map(|left| Command::LeaseCheckpoint(model::LeaseCheckpoint {
            remaining: vec![(model::LeaseId(7), left)]
        })),
        (quota(), any::<bool>())
            .prop_map(|(bytes, strict_latch)| Command::QuotaSet(model::QuotaSet { bytes, strict_latch })),
    ];
    prop_oneof![
        20 => command().prop_map(Step::Apply),
        4 => admin.prop_map(Step::Apply),
        1 => Just(Step::Term),
        2 => (0..5_000u64).prop_map(Step::Pass),
        3 => Just(Step::Reclaim),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::LostCheckpoint),
        1 => (quota(), any::<bool>()).prop_map(|(quota, latch)| Step::Restart(End::Killed, Quota(quota), latch)),
        1 => (any::<u64>(), quota(), any::<bool>())
            .prop_map(|(seed, quota, latch)| Step::Restart(End::PowerCut(seed), Quota(quota), latch)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn r20_r28_opened_state_is_the_one_maintained(
        steps in proptest::collection::vec(step(), 0..60),
        quota in quota(),
    ) {
        let mut world = World::new(Quota(quota));
        for step in steps {
            match step {
                Step::Apply(command) => drop(world.apply(command)),
                Step::Term => world.next_term(),
                Step::Pass(ms) => world.leader_time_ms += ms,
                Step::Reclaim => drop(world.reclaim(2)),
                Step::Checkpoint => world.checkpoint(),
                Step::LostCheckpoint => {
                    let mut job = world.state.begin_checkpoint().expect("the disk works");
                    job.write().expect("the disk works");
                    let before = world.dump();
                    world.restart(End::Killed);
                    prop_assert_eq!(world.dump(), before);
                }
                Step::Restart(end, quota, strict_latch) => {
                    let before = world.dump();
                    world.restart_with(end, quota, strict_latch);
                    prop_assert_eq!(world.dump(), before);
                }
            }
        }
        let before = world.dump();
        world.restart(End::Killed);
        prop_assert_eq!(&world.dump(), &before);
        while world.reclaim(3) {}
        prop_assert_eq!(&world.dump(), &before);
    }
}
