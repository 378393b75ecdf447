//! Who fills the store, and a quota that heals, over the wire.

use crate::http::get;
use crate::server::{Server, Setup, put, refusal};
use pb::maintenance_client::MaintenanceClient;
use proto::bowline::space_client::SpaceClient;
use proto::bowline::{
    Account, Budget, BudgetListRequest, BudgetRemoveRequest, BudgetSetRequest, Limits, Order, TopRequest,
};
use proto::etcdserverpb as pb;
use std::time::Duration;

const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

#[tokio::test]
async fn accounts_are_told_by_what_was_asked_for() {
    let server = Server::start();
    let (mut kv, mut space) = (server.kv().await, SpaceClient::new(server.channel().await));
    for key in ["/registry/pods/a/x", "/registry/pods/b/y", "/registry/events/a/z"] {
        kv.put(put(key, vec![7; 100])).await.expect("put");
    }
    kv.put(put("/registry/events/a/z", vec![7; 5000])).await.expect("put");
    kv.delete_range(pb::DeleteRangeRequest { key: "/registry/pods/a/x".into(), ..Default::default() })
        .await
        .expect("deleted");
    let all = TopRequest { limit: 0, order: Order::RetainedBytes.into() };
    let top = space.top(all).await.expect("told").into_inner();
    let names: Vec<_> = top.accounts.iter().map(|account| account.prefix.clone()).collect();
    assert_eq!(names, ["/registry/events", "/registry/pods"]);
    let sum: u64 = top.accounts.iter().map(|account| account.live_bytes + account.history_bytes).sum();
    assert_eq!((top.retained_bytes, top.accounts_total, top.alarm), (sum, 2, false));
    let by_keys = TopRequest { limit: 1, order: Order::Deletes.into() };
    let top = space.top(by_keys).await.expect("told").into_inner();
    let [Account { keys, writes, deletes, live_bytes, history_bytes, prefix }] = &top.accounts[..] else {
        panic!("one account was asked for: {top:?}")
    };
    assert_eq!((&prefix[..], *keys, *writes, *deletes), (&b"/registry/pods"[..], 1, 2, 1));
    assert!(*live_bytes > 100 && *history_bytes > 100);
}

/// The value of a metric without labels.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is exported")).parse().expect("a number")
}

/// The alert on low quota divides the database's size by the quota, and tests set quotas of a few kilobytes: the size
/// must be what the quota counts. What the files take has a name of its own, and a bound.
#[tokio::test]
async fn the_size_is_what_the_quota_counts_and_the_files_have_a_name_of_their_own() {
    let server = Server::start_with(Setup { quota_bytes: Some(16 << 20), ..Setup::default() });
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    let mut space = SpaceClient::new(server.channel().await);
    let (mut kv, mut filled) = (server.kv().await, 0);
    for keys in [0_u64, 400] {
        for key in 0..keys {
            kv.put(put(format!("k{key}"), vec![7; 10_000])).await.expect("put");
        }
        let status = maintenance.status(pb::StatusRequest {}).await.expect("status").into_inner();
        let text = get(server.address(), "/metrics").await.body;
        let top = space.top(TopRequest::default()).await.expect("told").into_inner();
        let size = status.db_size as u64;
        assert_eq!(status.db_size_in_use as u64, size);
        assert_eq!(value(&text, "etcd_mvcc_db_total_size_in_bytes"), size as f64);
        assert_eq!(value(&text, "etcd_mvcc_db_total_size_in_use_in_bytes"), size as f64);
        assert_eq!(top.retained_bytes.max(1), size);
        assert!(size > keys * 10_000 && size < 5_120 + keys * 10_200, "{size} bytes of {keys} keys");
        let files = value(&text, "bowline_store_file_bytes");
        assert!(files >= filled as f64 && files <= 1.3 * size as f64 + f64::from(64 << 20), "{files} of {size}");
        assert!(top.physical_bytes as f64 >= files);
        filled = size;
    }
}

#[tokio::test]
async fn a_full_store_serves_what_does_not_grow_and_heals_by_deletion_and_compaction() {
    let server = Server::start_with(Setup { quota_bytes: Some(1 << 20), ..Setup::default() });
    let (mut kv, mut maintenance) = (server.kv().await, MaintenanceClient::new(server.channel().await));
    let written = fill(&mut kv, 10_000).await;
    let alarms = async |maintenance: &mut MaintenanceClient<_>| {
        maintenance.alarm(pb::AlarmRequest::default()).await.expect("listed").into_inner().alarms.len()
    };
    assert_eq!(alarms(&mut maintenance).await, 1);
    kv.put(put("/registry/reports/0", vec![8; 10_000])).await.expect("a rewrite does not grow");
    let raft_index = async |maintenance: &mut MaintenanceClient<_>| {
        maintenance.status(pb::StatusRequest {}).await.expect("status").into_inner().raft_index
    };
    let before = raft_index(&mut maintenance).await;
    assert_eq!(refusal(kv.put(put("/registry/pods/new", "v")).await), (8, NO_SPACE.to_string()));
    assert_eq!(raft_index(&mut maintenance).await, before, "a flood that is refused does not fill the log");
    let reports = pb::DeleteRangeRequest {
        key: "/registry/reports/".into(),
        range_end: "/registry/reports0".into(),
        ..Default::default()
    };
    let deleted = kv.delete_range(reports).await.expect("deletions are served").into_inner();
    assert_eq!(deleted.deleted, written);
    assert_eq!(alarms(&mut maintenance).await, 1, "what was deleted is history");
    let revision = deleted.header.expect("a header").revision;
    kv.compact(pb::CompactionRequest { revision, physical: false }).await.expect("compaction is served");
    assert_eq!(alarms(&mut maintenance).await, 0);
    kv.put(put("/registry/pods/new", "v")).await.expect("the alarm is cleared");
}

/// Puts reports of so many bytes until the quota is met; returns how many it took.
async fn fill(kv: &mut pb::kv_client::KvClient<tonic::transport::Channel>, value_bytes: usize) -> i64 {
    let mut written = 0;
    loop {
        match kv.put(put(format!("/registry/reports/{written}"), vec![7; value_bytes])).await {
            Ok(_) => written += 1,
            refused => {
                assert_eq!(refusal(refused), (8, NO_SPACE.to_string()));
                return written;
            }
        }
    }
}

/// etcd's runbook for a full store asks for the revision, compacts it and disarms. Here the member is quicker.
#[tokio::test]
async fn the_runbook_succeeds_behind_the_compaction_and_the_healing_of_the_member_itself() {
    let adjust = |config: &mut node::Config| config.pressure_retention = Some(Duration::from_secs(1));
    let server = Server::start_with(Setup { quota_bytes: Some(1 << 20), adjust, ..Setup::default() });
    let (mut kv, mut maintenance) = (server.kv().await, MaintenanceClient::new(server.channel().await));
    fill(&mut kv, 100_000).await;
    let alarms = async |maintenance: &mut MaintenanceClient<_>| {
        maintenance.alarm(pb::AlarmRequest::default()).await.expect("listed").into_inner().alarms
    };
    let raised = alarms(&mut maintenance).await;
    let status = maintenance.status(pb::StatusRequest {}).await.expect("told").into_inner();
    let revision = status.header.expect("a header").revision;
    while server.node.view().compacted_revision().0 < revision {
        tokio::task::yield_now().await;
    }
    for physical in [true, false] {
        let compacted = kv.compact(pb::CompactionRequest { revision: revision - i64::from(physical), physical }).await;
        compacted.expect("nobody else asked for it, and it is done");
        let again = kv.compact(pb::CompactionRequest { revision: revision - 1, physical }).await;
        assert_eq!(refusal(again), (11, "etcdserver: mvcc: required revision has been compacted".to_string()));
    }
    let reports = pb::DeleteRangeRequest {
        key: "/registry/reports/".into(),
        range_end: "/registry/reports0".into(),
        ..Default::default()
    };
    kv.delete_range(reports).await.expect("deletions are served");
    while !alarms(&mut maintenance).await.is_empty() {
        tokio::task::yield_now().await;
    }
    // `alarm disarm` lists the alarms and disarms each; a script may have listed them before.
    let [alarm] = raised[..] else { panic!("one alarm was up: {raised:?}") };
    let action = pb::alarm_request::AlarmAction::Deactivate.into();
    let disarm = pb::AlarmRequest { action, member_id: alarm.member_id, alarm: alarm.alarm };
    let disarmed = maintenance.alarm(disarm).await.expect("harmless").into_inner();
    assert_eq!(disarmed.alarms, [], "as of an alarm that somebody else has disarmed");
    kv.put(put("/registry/pods/new", "v")).await.expect("there is room");
}

fn limits(bytes: Option<u64>, keys: Option<u64>, writes_per_second: Option<u64>) -> Option<Limits> {
    Some(Limits { bytes, keys, writes_per_second })
}

fn budget(prefix: &'static str, hard: Option<Limits>) -> BudgetSetRequest {
    let soft = limits(None, Some(1), None);
    BudgetSetRequest { budget: Some(Budget { prefix: prefix.into(), soft, hard }) }
}

#[tokio::test]
async fn over_a_budget_its_prefix_is_refused_and_nobody_else() {
    let server = Server::start();
    let (mut kv, mut space) = (server.kv().await, SpaceClient::new(server.channel().await));
    space.budget_set(budget("/registry/reports", limits(Some(5000), Some(2), None))).await.expect("set");
    kv.put(put("/registry/reports/a", vec![7; 100])).await.expect("within the budget");
    kv.put(put("/registry/reports/b", vec![7; 100])).await.expect("within the budget");
    let (code, text) = refusal(kv.put(put("/registry/reports/c", "v")).await);
    assert_eq!(code, 8);
    assert!(
        text.starts_with("bowline: budget of /registry/reports exceeded: 2 keys are there, 1 more would pass"),
        "{text}"
    );
    let (code, text) = refusal(kv.put(put("/registry/reports/b", vec![7; 5000])).await);
    assert_eq!(code, 8);
    assert!(text.contains("would pass the hard limit of 5000"), "{text}");
    let applied = server.node.status().applied;
    assert_eq!(refusal(kv.put(put("/registry/reports/c", "v")).await).0, 8);
    assert_eq!(server.node.status().applied, applied, "what is refused anyway does not fill the log");
    kv.put(put("/registry/reports/b", vec![8; 100])).await.expect("a rewrite does not grow");
    kv.put(put("/registry/pods/c", vec![7; 5000])).await.expect("everybody else goes on");
    let listed = space.budget_list(BudgetListRequest {}).await.expect("listed").into_inner().budgets;
    let [state] = &listed[..] else { panic!("one budget is set: {listed:?}") };
    assert_eq!((state.keys, state.refused, state.writes_left), (2, 3, None));
    assert!(state.bytes > 300 && state.bytes < 5000, "{state:?}");
    let top = space.top(TopRequest::default()).await.expect("told").into_inner();
    assert_eq!(top.over_budget.len(), 1);
    let remove = BudgetRemoveRequest { prefix: "/registry/reports".into() };
    space.budget_remove(remove.clone()).await.expect("removed");
    assert_eq!(refusal(space.budget_remove(remove).await).0, 5);
    kv.put(put("/registry/reports/c", vec![7; 5000])).await.expect("there is no budget");
    assert!(space.budget_list(BudgetListRequest {}).await.expect("listed").into_inner().budgets.is_empty());
}

#[tokio::test]
async fn a_budget_that_cannot_be_kept_is_refused_with_the_way_out() {
    let server = Server::start();
    let mut space = SpaceClient::new(server.channel().await);
    for (prefix, hard, says) in [
        ("/registry/pods/default", limits(None, Some(9), None), "--space-account-depth=3"),
        ("/a/b/c/d/e/f/g/h/i", limits(None, Some(9), None), "more components than the deepest account, 8"),
        ("/registry/pods/", limits(None, Some(9), None), "ends with a slash"),
        ("/registry/pods", limits(None, Some(0), None), "a soft limit is above the hard one"),
        ("", limits(None, Some(9), None), "its prefix is empty"),
    ] {
        let (code, text) = refusal(space.budget_set(budget(prefix, hard)).await);
        assert_eq!(code, 3, "{text}");
        assert!(text.contains(says), "{text}");
    }
    assert_eq!(refusal(space.budget_set(BudgetSetRequest::default()).await).0, 3);
}

#[tokio::test]
async fn budgets_are_set_and_removed_while_the_store_is_full() {
    let server = Server::start_with(Setup { quota_bytes: Some(1 << 20), ..Setup::default() });
    let (mut kv, mut space) = (server.kv().await, SpaceClient::new(server.channel().await));
    fill(&mut kv, 100_000).await;
    space.budget_set(budget("/registry/reports", limits(Some(1000), None, None))).await.expect("set");
    let (_, text) = refusal(kv.put(put("/registry/reports/new", "v")).await);
    assert!(text.starts_with("bowline: budget of /registry/reports exceeded"), "{text}");
    space.budget_remove(BudgetRemoveRequest { prefix: "/registry/reports".into() }).await.expect("removed");
    assert_eq!(refusal(kv.put(put("/registry/reports/new", "v")).await), (8, NO_SPACE.to_string()));
}

#[tokio::test]
async fn writes_a_second_come_back_with_time() {
    let server = Server::start();
    let (mut kv, mut space) = (server.kv().await, SpaceClient::new(server.channel().await));
    space.budget_set(budget("/registry/events", limits(None, None, Some(20)))).await.expect("set");
    let (mut done, mut refused) = (0, 0);
    // A second's worth is there at once; the rest comes as the leader's time goes on.
    while done < 30 {
        match kv.put(put("/registry/events/a", "v")).await {
            Ok(_) => done += 1,
            error => {
                let (code, text) = refusal(error);
                assert!(code == 8 && text.contains("would pass the hard limit of 20 puts a second"), "{text}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
    let state = space.budget_list(BudgetListRequest {}).await.expect("listed").into_inner().budgets.remove(0);
    assert_eq!((state.keys, state.refused), (1, refused));
}
