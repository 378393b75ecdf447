//! Maintenance, cluster and health over the wire.

use crate::server::{Server, put, refusal};
use pb::cluster_client::ClusterClient;
use pb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb as pb;
use proto::health::health_client::HealthClient;
use proto::health::{HealthCheckRequest, HealthListRequest};

#[tokio::test]
async fn status_fills_every_field() {
    let server = Server::start();
    let mut kv = server.kv().await;
    kv.put(put("k", vec![1; 1000])).await.expect("put");
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    let status = maintenance.status(pb::StatusRequest {}).await.expect("status").into_inner();
    let member = server.node.member().0;
    assert_eq!((status.version.as_str(), status.storage_version.as_str()), ("3.7.3", "3.7.0"));
    assert_eq!((status.leader, status.is_learner), (member, false));
    assert!(status.raft_index >= status.raft_applied_index && status.raft_applied_index > 0);
    assert_eq!(status.raft_term, status.header.expect("a header").raft_term);
    assert!((1000..1200).contains(&status.db_size), "what is retained: {}", status.db_size);
    assert_eq!(status.db_size_in_use, status.db_size);
    assert_eq!(status.db_size_quota, -1, "the member has none");
    assert_eq!((status.errors, status.downgrade_info), (vec![], Some(pb::DowngradeInfo::default())));
}

#[tokio::test]
async fn alarms_are_raised_listed_and_cleared() {
    let server = Server::start();
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    let member_id = server.node.member().0;
    let request = |action: i32, member_id, alarm: i32| pb::AlarmRequest { action, member_id, alarm };
    let no_space = pb::AlarmMember { member_id, alarm: 1 };
    let raised = maintenance.alarm(request(1, member_id, 1)).await.expect("raised").into_inner();
    assert_eq!(raised.alarms, [no_space]);
    assert_eq!(raised.header.expect("a header").revision, 1);
    for kind in [0, 1] {
        let listed = maintenance.alarm(request(0, 0, kind)).await.expect("listed").into_inner();
        assert_eq!(listed.alarms, [no_space]);
    }
    assert_eq!(maintenance.alarm(request(0, 0, 2)).await.expect("listed").into_inner().alarms, []);
    let status = maintenance.status(pb::StatusRequest {}).await.expect("status").into_inner();
    assert_eq!(status.errors, [format!("memberID:{member_id} alarm:NOSPACE")]);
    let mut kv = server.kv().await;
    let text = "etcdserver: mvcc: database space exceeded".to_string();
    assert_eq!(refusal(kv.put(put("k", "v")).await), (8, text));
    let cleared = maintenance.alarm(request(2, member_id, 1)).await.expect("cleared").into_inner();
    assert_eq!(cleared.alarms, [no_space]);
    assert!(kv.put(put("k", "v")).await.is_ok());
    maintenance.alarm(request(1, member_id, 2)).await.expect("raised");
    let corrupt = (15, "etcdserver: corrupt cluster".to_string());
    assert_eq!(refusal(kv.put(put("k", "v")).await), corrupt);
}

#[tokio::test]
async fn hashes_are_of_the_history_and_defragment_is_done_at_once() {
    let server = Server::start();
    let mut kv = server.kv().await;
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    kv.put(put("k", "1")).await.expect("put");
    let hash = |revision| pb::HashKvRequest { revision };
    let first = maintenance.hash_kv(hash(0)).await.expect("hash").into_inner();
    assert_eq!((first.compact_revision, first.hash_revision), (-1, 2));
    kv.put(put("k", "2")).await.expect("put");
    let again = maintenance.hash_kv(hash(2)).await.expect("hash").into_inner();
    assert_eq!((again.hash, again.header.expect("a header").revision), (first.hash, 3));
    assert_ne!(maintenance.hash_kv(hash(3)).await.expect("hash").into_inner().hash, first.hash);
    let text = "etcdserver: mvcc: required revision is a future revision".to_string();
    assert_eq!(refusal(maintenance.hash_kv(hash(4)).await), (11, text));
    assert!(maintenance.hash(pb::HashRequest {}).await.is_ok());
    let defragmented = maintenance.defragment(pb::DefragmentRequest {}).await.expect("done").into_inner();
    assert_eq!(defragmented.header, None);
}

#[tokio::test]
async fn the_member_list_has_this_member_and_no_revision() {
    let server = Server::start();
    let mut cluster = ClusterClient::new(server.channel().await);
    for linearizable in [false, true] {
        let list = cluster.member_list(pb::MemberListRequest { linearizable }).await.expect("list").into_inner();
        assert_eq!(list.header.expect("a header").revision, 0);
        let [member] = list.members.as_slice() else { panic!("one member") };
        assert_eq!((member.id, member.name.as_str()), (server.node.member().0, "default"));
        assert_eq!(member.client_ur_ls, ["http://localhost:2379"]);
        assert_eq!(member.peer_ur_ls, ["http://localhost:2380"]);
    }
}

#[tokio::test]
async fn what_is_not_served_yet_is_unimplemented_in_grpcs_words() {
    let server = Server::start();
    let channel = server.channel().await;
    let mut cluster = ClusterClient::new(channel.clone());
    let add = cluster.member_add(pb::MemberAddRequest::default()).await;
    let text = "unknown method MemberAdd for service etcdserverpb.Cluster".to_string();
    assert_eq!(refusal(add), (12, text));
    let mut auth = pb::auth_client::AuthClient::new(channel);
    let enable = auth.auth_enable(pb::AuthEnableRequest {}).await;
    assert_eq!(refusal(enable), (12, "unknown method AuthEnable for service etcdserverpb.Auth".to_string()));
}

#[tokio::test]
async fn the_whole_server_is_healthy_and_no_other_service_is_known() {
    let server = Server::start();
    let mut health = HealthClient::new(server.channel().await);
    let request = |service: &str| HealthCheckRequest { service: service.to_string() };
    assert_eq!(health.check(request("")).await.expect("checked").into_inner().status, 1);
    assert_eq!(refusal(health.check(request("other")).await), (5, "unknown service".to_string()));
    assert_eq!(health.list(HealthListRequest {}).await.expect("listed").into_inner().statuses.len(), 1);
    let mut watch = health.watch(request("")).await.expect("stream").into_inner();
    assert_eq!(watch.message().await.expect("a message").expect("a status").status, 1);
    let mut unknown = health.watch(request("other")).await.expect("stream").into_inner();
    assert_eq!(unknown.message().await.expect("a message").expect("a status").status, 3);
}
