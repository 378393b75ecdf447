//! The answer of `/metrics`: etcd's names for what this process measures.
//!
//! A metric stands here if there is something behind it; `docs/metrics.md` says which of etcd's have nothing.

mod budgets;
mod prefixes;
mod text;

pub(crate) use text::CONTENT_TYPE;

use super::process;
use crate::call::{Shared, database_bytes};
use crate::in_flight::InFlight;
use crate::method::Method;
use crate::metrics::{Check, ClientVersion, HistogramSum, LocalHistogram, RequestType, RimMetrics};
use crate::status::Code;
use model::{AlarmKind, ETCD_VERSION};
use node::{Ailment, DiskTrouble, DiskUse};
use state::StateView;
use std::sync::PoisonError;
use std::time::SystemTime;
use stdx::metrics::Histogram;
use text::{Text, Type};

pub(crate) fn export(shared: &Shared) -> String {
    let mut text = Text::default();
    let view = shared.node.view();
    server(&mut text, shared);
    space(&mut text, shared, &view);
    refusals(&mut text, shared);
    disks(&mut text, shared);
    health(&mut text, shared);
    node(&mut text, shared);
    mvcc(&mut text, shared, &view);
    requests(&mut text, shared);
    grpc(&mut text, &shared.rims);
    watches(&mut text, &shared.rims);
    network(&mut text, &shared.rims);
    in_flight(&mut text, &shared.in_flight);
    connections(&mut text, shared);
    scrapes(&mut text, shared);
    process_of(&mut text, shared);
    text.finish()
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn server(text: &mut Text, shared: &Shared) {
    let status = shared.node.status();
    let leads = status.leader == Some(status.member);
    text.gauge("etcd_server_has_leader", "Whether a leader is known.", truth(status.leader.is_some()));
    text.gauge("etcd_server_is_leader", "Whether this member leads.", truth(leads));
    text.gauge("etcd_server_is_learner", "Whether this member is a learner.", 0.0);
    let committed = status.committed.0 as f64;
    text.gauge("etcd_server_proposals_committed_total", "Index of the last committed log entry.", committed);
    let applied = status.applied.0 as f64;
    text.gauge("etcd_server_proposals_applied_total", "Index of the last applied log entry.", applied);
    text.counter("etcd_server_heartbeat_send_failures_total", "Heartbeats sent late.", 0);
    text.gauge("etcd_server_snapshot_apply_in_progress_total", "Whether a snapshot is being applied.", 0.0);
    text.counter("etcd_server_learner_promote_successes", "Learners promoted while leading.", 0);
    let id = format!("{:x}", status.member);
    text.family("etcd_server_id", Type::Gauge, "The member's id.").sample(&[("server_id", &id)], 1.0);
    text.family("etcd_server_version", Type::Gauge, "The etcd release whose behaviour is served.")
        .sample(&[("server_version", ETCD_VERSION)], 1.0);
    text.family("bowline_server_version", Type::Gauge, "The release of this program.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let mut gates = text.family("etcd_server_feature_enabled", Type::Gauge, "Whether a feature is enabled.");
    for (name, stage, enabled) in &shared.config.feature_gates {
        gates.sample(&[("name", name), ("stage", stage)], truth(*enabled));
    }
}

fn space(text: &mut Text, shared: &Shared, view: &StateView) {
    let version = view.membership().cluster_version().unwrap_or_default();
    if let Some((major_minor, _)) = version.rsplit_once('.') {
        text.family("etcd_cluster_version", Type::Gauge, "The version that all members of the cluster understand.")
            .sample(&[("cluster_version", major_minor)], 1.0);
    }
    let quota = view.quota_bytes().map_or(0.0, |bytes| bytes as f64);
    text.gauge("etcd_server_quota_backend_bytes", "Bytes that may be retained; 0 if there is no bound.", quota);
    let retained = database_bytes(view) as f64;
    let help = "Bytes retained, which the quota counts: live pairs, history, and what is unsettled.";
    text.gauge("etcd_mvcc_db_total_size_in_bytes", help, retained);
    text.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "The same: no retained byte is free.", retained);
    let help = "Bytes of the store's files, without the raft log.";
    text.gauge("bowline_store_file_bytes", help, view.physical_bytes() as f64);
    let help = "Bytes retained although a compaction dropped them, because their files have not followed yet.";
    text.gauge("bowline_unsettled_bytes", help, view.unsettled_bytes() as f64);
    prefixes::prefixes(text, shared.node.live().accounts());
    budgets::budgets(text, &shared.node.budgets());
    let reclaim = view.reclaim_stats();
    let help = "Records copied so that the segment they lay in could go.";
    text.counter("bowline_reclaim_relocated_records_total", help, reclaim.relocated_records);
    let help = "Bytes of the records copied so that the segment they lay in could go.";
    text.counter("bowline_reclaim_relocated_bytes_total", help, reclaim.relocated_bytes);
    let help = "Segments removed because no record in them counted.";
    text.counter("bowline_reclaim_segments_removed_total", help, reclaim.segments_removed);
    let help = "Bytes of removed files that readers keep open.";
    text.gauge("bowline_reclaim_pinned_bytes", help, shared.node.metrics().pinned_bytes.get() as f64);
    let help = "Segments that keep their space because a record in them is damaged.";
    text.gauge("bowline_reclaim_segments_damaged", help, reclaim.segments_damaged as f64);
    let metrics = shared.node.metrics();
    let help = "Bytes of the store's files that the scrub read and found whole.";
    text.counter("bowline_scrub_bytes_total", help, metrics.scrub_bytes.get());
    let help = "Rounds of the scrub over the whole store.";
    text.counter("bowline_scrub_rounds_total", help, metrics.scrub_rounds.get());
    let help = "Damaged places in the store's files that the last round of the scrub, or this one, found.";
    text.gauge("bowline_damaged_records", help, metrics.damaged_records.get() as f64);
    let help = "Bytes of writes that wait until reclaim has given space back.";
    text.gauge("bowline_reclaim_backpressure_bytes", help, shared.node.status().waiting_bytes as f64);
    let id = format!("{:x}", shared.node.member());
    let mut alarms = text.family("etcd_debugging_server_alarms", Type::Gauge, "Alarms that are up.");
    for (kind, name) in [(AlarmKind::NoSpace, "NOSPACE"), (AlarmKind::Corrupt, "CORRUPT")] {
        if view.alarms().is_active(kind) {
            alarms.sample(&[("alarm_type", name), ("server_id", &id)], 1.0);
        }
    }
    text.gauge("etcd_disk_defrag_inflight", "Whether a defragmentation runs; there is none.", 0.0);
}

fn refusals(text: &mut Text, shared: &Shared) {
    let mut counts = text.family("bowline_refused_total", Type::Counter, "Requests refused because a limit is met.");
    for (limit, count, _) in shared.refusals.figures() {
        counts.sample(&[("limit", limit.name())], count as f64);
    }
    let help = "By how much the last refused request was beyond its limit.";
    let mut excess = text.family("bowline_refused_excess", Type::Gauge, help);
    for (limit, _, beyond) in shared.refusals.figures() {
        excess.sample(&[("limit", limit.name())], beyond as f64);
    }
}

fn disks(text: &mut Text, shared: &Shared) {
    let help = "Seconds since which a disk of the member does not take all writes, by what it is for and by what ails it; 0 \
                if it does.";
    let mut seconds = text.family("bowline_disk_sick_seconds", Type::Gauge, help);
    let sick_disks = shared.node.status().sick_disks;
    for disk in DiskUse::ALL {
        for ailment in Ailment::ALL {
            let found = sick_disks.iter().flatten().find(|sick| sick.trouble == DiskTrouble { disk, ailment });
            // One that has just begun shows, too.
            let lasts = found.map_or(0.0, |sick| sick.lasts.as_secs_f64().max(0.001));
            seconds.sample(&[("ailment", ailment.name()), ("disk", disk.name())], lasts);
        }
    }
}

fn health(text: &mut Text, shared: &Shared) {
    let http = &shared.http;
    text.counter("etcd_server_health_success", "Answers of /health that were good.", http.health_succeeded.get());
    text.counter("etcd_server_health_failures", "Answers of /health that were bad.", http.health_failed.get());
    let asked = |check: Check| http.checks.get(check as usize).filter(|c| c.succeeded.get() + c.failed.get() > 0);
    let mut last = text.family("etcd_server_healthcheck", Type::Gauge, "The last result of each health check.");
    for check in Check::ALL {
        if let Some(metrics) = asked(check) {
            last.sample(&[("name", check.name()), ("type", check.endpoint())], metrics.is_ok.get() as f64);
        }
    }
    let mut totals = text.family("etcd_server_healthchecks_total", Type::Counter, "Results of each health check.");
    for check in Check::ALL {
        let Some(metrics) = asked(check) else { continue };
        for (status, count) in [("success", metrics.succeeded.get()), ("error", metrics.failed.get())] {
            let labels = [("name", check.name()), ("status", status), ("type", check.endpoint())];
            totals.sample(&labels, count as f64);
        }
    }
}

fn histogram(text: &mut Text, name: &'static str, help: &str, histogram: &Histogram) {
    text.histogram(name, help, &histogram.cumulative(), histogram.sum_seconds());
}

/// A histogram of durations whose name promises milliseconds.
fn histogram_ms(text: &mut Text, name: &'static str, help: &str, histogram: &Histogram) {
    let buckets: Vec<(f64, u64)> =
        histogram.cumulative().into_iter().map(|(bound, count)| ((bound * 1e3).round(), count)).collect();
    text.histogram(name, help, &buckets, histogram.sum_seconds() * 1e3);
}

fn node(text: &mut Text, shared: &Shared) {
    let metrics = shared.node.metrics();
    text.counter("etcd_server_leader_changes_seen_total", "Changes of leader.", metrics.leader_changes.get());
    let pending = metrics.proposals_pending.get() as f64;
    text.gauge("etcd_server_proposals_pending", "Proposals waiting to be applied.", pending);
    text.counter("etcd_server_proposals_failed_total", "Proposals that failed.", metrics.proposals_failed.get());
    text.counter("etcd_server_slow_apply_total", "Entries that took long to apply.", metrics.slow_applies.get());
    let slow_reads = metrics.read_indexes_slow.get();
    text.counter(
        "etcd_server_slow_read_indexes_total",
        "Linearizable reads that were not confirmed in time.",
        slow_reads,
    );
    text.counter(
        "etcd_server_read_indexes_failed_total",
        "Linearizable reads that failed; a lost round is asked again.",
        0,
    );
    text.counter("etcd_debugging_lease_granted_total", "Leases granted.", metrics.leases_granted.get());
    text.counter("etcd_debugging_lease_revoked_total", "Leases revoked.", metrics.leases_revoked.get());
    text.counter("etcd_debugging_lease_renewed_total", "Renewals of leases.", metrics.leases_renewed.get());
    text.counter("etcd_debugging_server_lease_expired_total", "Leases that expired.", metrics.leases_expired.get());
    let help = "Entries from their turn to their effect.";
    let mut applies = text.family("etcd_server_apply_duration_seconds", Type::Histogram, help);
    for (operation, succeeded, histogram) in metrics.applies.iter() {
        let buckets = histogram.cumulative();
        if buckets.last().is_some_and(|(_, count)| *count > 0) {
            let success = if succeeded { "true" } else { "false" };
            let labels = [("op", operation), ("success", success), ("version", "v3")];
            applies.buckets(&labels, &buckets, histogram.sum_seconds());
        }
    }
    let help = "Writes to the raft log, without their syncs.";
    histogram(text, "etcd_disk_wal_write_duration_seconds", help, &metrics.wal_write);
    histogram(text, "etcd_disk_wal_fsync_duration_seconds", "Syncs of the raft log.", &metrics.wal_sync);
    text.gauge("etcd_disk_wal_write_bytes_total", "Bytes written to the raft log.", metrics.wal_bytes.get() as f64);
    histogram(text, "etcd_mvcc_hash_duration_seconds", "Hashes of the whole store.", &metrics.hash);
    let help = "Hashes of the history up to a revision.";
    histogram(text, "etcd_mvcc_hash_rev_duration_seconds", help, &metrics.hash_revision);
    let name = "etcd_disk_backend_commit_duration_seconds";
    histogram(text, name, "Syncs of the store's files.", &metrics.backend_commit);
    pressure(text, shared);
    let name = "bowline_checkpoint_duration_seconds";
    histogram(text, name, "Checkpoints of the store.", &metrics.checkpoint);
}

fn pressure(text: &mut Text, shared: &Shared) {
    let metrics = shared.node.metrics();
    let (raised, cleared) = (metrics.no_space_raised.get(), metrics.no_space_cleared.get());
    text.counter("bowline_space_alarms_raised_total", "How often the quota was met.", raised);
    text.counter("bowline_space_alarms_cleared_total", "How often its alarm cleared by itself.", cleared);
    let compactions = metrics.pressure_compactions.get();
    text.counter("bowline_space_pressure_compactions_total", "Compactions because space was short.", compactions);
    let full_in = match metrics.full_in_s.get() {
        seconds if seconds >= 0 => seconds as f64,
        _ => f64::INFINITY,
    };
    text.gauge("bowline_space_seconds_to_full", "Until the quota is met at the present rate.", full_in);
}

fn mvcc(text: &mut Text, shared: &Shared, view: &StateView) {
    let metrics = shared.node.metrics();
    text.counter("etcd_mvcc_put_total", "Puts.", metrics.puts.get());
    text.counter("etcd_mvcc_delete_total", "Deletions.", metrics.deletes.get());
    text.counter("etcd_mvcc_txn_total", "Txns.", metrics.txns.get());
    text.counter("etcd_mvcc_range_total", "Ranges.", metrics.ranges.get());
    let put_bytes = metrics.put_bytes.get() as f64;
    text.gauge("etcd_debugging_mvcc_total_put_size_in_bytes", "Bytes of keys and values put.", put_bytes);
    let revision = view.revision().0 as f64;
    text.gauge("etcd_debugging_mvcc_current_revision", "The store's revision.", revision);
    let compacted = view.compacted_revision().0.max(0) as f64;
    text.gauge("etcd_debugging_mvcc_compact_revision", "The compacted revision.", compacted);
    let live = view.kv().key_count() as f64;
    text.gauge("etcd_debugging_mvcc_keys_total", "Live keys.", live);
    let keys = metrics.compaction_keys.get();
    text.counter("etcd_debugging_mvcc_db_compaction_keys_total", "Versions removed by compactions.", keys);
    let last = metrics.compaction_last_s.get() as f64;
    text.gauge("etcd_debugging_mvcc_db_compaction_last", "Unix time of the last compaction.", last);
    let name = "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds";
    histogram_ms(text, name, "Compactions from request to end.", &metrics.compaction_total);
}

fn sum<'a>(histograms: impl Iterator<Item = &'a LocalHistogram>) -> HistogramSum {
    let mut sum = HistogramSum::default();
    histograms.for_each(|histogram| histogram.add_to(&mut sum));
    sum
}

fn total(rims: &[impl AsRef<RimMetrics>], count: impl Fn(&RimMetrics) -> u64) -> u64 {
    rims.iter().map(|rim| count(rim.as_ref())).sum()
}

fn requests(text: &mut Text, shared: &Shared) {
    let rims = &shared.rims[..];
    let help = "Requests from arrival to answer.";
    let mut family = text.family("etcd_server_request_duration_seconds", Type::Histogram, help);
    // What the leader asks of itself is a request to etcd.
    let own: Vec<_> = shared.node.metrics().own_requests.iter().collect();
    for (position, name) in RequestType::NAMES.into_iter().enumerate() {
        for (succeeded, label) in [(0, "false"), (1, "true")] {
            let of_kind = rims.iter().filter_map(|rim| rim.as_ref().requests.get(position));
            let sum = sum(of_kind.map(|pair| &pair[succeeded]));
            let (mut buckets, mut seconds) = (sum.cumulative(), sum.sum_seconds());
            if let Some((_, own)) = own.iter().find(|(own, _)| succeeded == 1 && *own == name) {
                buckets.iter_mut().zip(own.cumulative()).for_each(|((_, count), (_, own))| *count += own);
                seconds += own.sum_seconds();
            }
            family.buckets(&[("success", label), ("type", name)], &buckets, seconds);
        }
    }
    for (name, own) in own.iter().filter(|(own, _)| !RequestType::NAMES.contains(own)) {
        family.buckets(&[("success", "true"), ("type", name)], &own.cumulative(), own.sum_seconds());
    }
    let mut family = text.family("etcd_server_range_duration_seconds", Type::Histogram, "Ranges in the store.");
    for (succeeded, label) in [(0, "false"), (1, "true")] {
        let sum = sum(rims.iter().map(|rim| &rim.as_ref().ranges[succeeded]));
        family.buckets(&[("success", label)], &sum.cumulative(), sum.sum_seconds());
    }
    let ttl = sum(rims.iter().map(|rim| &rim.as_ref().lease_ttl));
    let help = "Times to live of leases granted, in seconds.";
    text.histogram("etcd_debugging_lease_ttl_total", help, &ttl.cumulative(), ttl.sum_seconds());
    let mut family =
        text.family("etcd_server_client_requests_total", Type::Counter, "Requests by the API version of the client.");
    for version in client_versions(rims) {
        let kind = if version.is_stream { "stream" } else { "unary" };
        let labels = [("client_api_version", version.version.as_str()), ("type", kind)];
        family.sample(&labels, version.requests as f64);
    }
}

fn client_versions(rims: &[impl AsRef<RimMetrics>]) -> Vec<ClientVersion> {
    let mut versions: Vec<ClientVersion> = Vec::new();
    for rim in rims {
        let of_rim = rim.as_ref().client_versions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for counted in of_rim {
            let same = |v: &&mut ClientVersion| (v.is_stream, &v.version) == (counted.is_stream, &counted.version);
            match versions.iter_mut().find(same) {
                Some(known) => known.requests += counted.requests,
                None => versions.push(counted),
            }
        }
    }
    versions.sort_by(|one, two| (&one.version, one.is_stream).cmp(&(&two.version, two.is_stream)));
    versions
}

fn grpc(text: &mut Text, rims: &[impl AsRef<RimMetrics>]) {
    let labels = |method: Method| {
        [("grpc_method", method.name()), ("grpc_service", method.service()), ("grpc_type", method.kind().name())]
    };
    let mut family = text.family("grpc_server_started_total", Type::Counter, "Calls started.");
    for &method in Method::ALL {
        family.sample(&labels(method), total(rims, |rim| rim.method(method).started.get()) as f64);
    }
    let mut family = text.family("grpc_server_handled_total", Type::Counter, "Calls ended, by their status.");
    for &method in Method::ALL {
        let [name, service, kind] = labels(method);
        for code in Code::ALL {
            let count = total(rims, |rim| rim.method(method).handled[code as usize].get());
            family.sample(&[("grpc_code", code.name()), name, service, kind], count as f64);
        }
    }
    let mut family = text.family("grpc_server_msg_received_total", Type::Counter, "Messages received.");
    for &method in Method::ALL {
        family.sample(&labels(method), total(rims, |rim| rim.method(method).received.get()) as f64);
    }
    let mut family = text.family("grpc_server_msg_sent_total", Type::Counter, "Messages sent.");
    for &method in Method::ALL {
        family.sample(&labels(method), total(rims, |rim| rim.method(method).sent.get()) as f64);
    }
    if rims.iter().all(|rim| rim.as_ref().methods.iter().all(|method| method.seconds.is_none())) {
        return;
    }
    let mut family = text.family("grpc_server_handling_seconds", Type::Histogram, "Calls from start to status.");
    for &method in Method::ALL {
        let sum = sum(rims.iter().filter_map(|rim| rim.as_ref().method(method).seconds.as_ref()));
        family.buckets(&labels(method), &sum.cumulative(), sum.sum_seconds());
    }
}

fn watches(text: &mut Text, rims: &[impl AsRef<RimMetrics>]) {
    let gauge = |count: fn(&RimMetrics) -> i64| rims.iter().map(|rim| count(rim.as_ref())).sum::<i64>() as f64;
    let streams = gauge(|rim| rim.watch_streams.get());
    text.gauge("etcd_debugging_mvcc_watch_stream_total", "Watch streams that are open.", streams);
    let watchers = gauge(|rim| rim.watchers.get());
    text.gauge("etcd_debugging_mvcc_watcher_total", "Watchers.", watchers);
    let slow = gauge(|rim| rim.slow_watchers.get());
    text.gauge("etcd_debugging_mvcc_slow_watcher_total", "Watchers that catch up or wait for their client.", slow);
    let pending = gauge(|rim| rim.pending_events.get());
    text.gauge("etcd_debugging_mvcc_pending_events_total", "Events on their way to clients.", pending);
    let events = total(rims, |rim| rim.watch_events.get());
    text.counter("etcd_debugging_mvcc_events_total", "Events sent to clients.", events);
    let mut family = text.family(
        "etcd_network_server_stream_failures_total",
        Type::Counter,
        "Streams that ended other than by their client's wish.",
    );
    for (position, direction) in ["receive", "send"].into_iter().enumerate() {
        let watch = total(rims, |rim| rim.watch_failures.get(position).map_or(0, |count| count.get()));
        family.sample(&[("API", "watch"), ("Type", direction)], watch as f64);
        let keep_alive = total(rims, |rim| rim.keep_alive_failures.get(position).map_or(0, |count| count.get()));
        family.sample(&[("API", "lease-keepalive"), ("Type", direction)], keep_alive as f64);
    }
}

fn network(text: &mut Text, rims: &[impl AsRef<RimMetrics>]) {
    let received = total(rims, |rim| rim.received_bytes.get());
    text.counter("etcd_network_client_grpc_received_bytes_total", "Bytes of messages from clients.", received);
    let sent = total(rims, |rim| rim.sent_bytes.get());
    text.counter("etcd_network_client_grpc_sent_bytes_total", "Bytes of messages to clients.", sent);
}

fn in_flight(text: &mut Text, in_flight: &InFlight) {
    let help = "Memory that requests and answers on their way take, beside what each connection has free.";
    text.gauge("bowline_in_flight_bytes", help, in_flight.used_bytes() as f64);
    let help = "What they may take.";
    text.gauge("bowline_in_flight_limit_bytes", help, in_flight.bytes_max() as f64);
    text.gauge("bowline_in_flight_waiting", "Requests that wait for memory.", in_flight.waiting() as f64);
    text.counter("bowline_in_flight_waits_total", "Requests that had to wait for memory.", in_flight.waits.get());
    let help = "Requests refused because there was no memory for them.";
    text.counter("bowline_in_flight_refused_total", help, in_flight.refused.get());
}

fn connections(text: &mut Text, shared: &Shared) {
    let metrics = &shared.connections;
    text.gauge("bowline_connections_open", "Connections that are open.", metrics.open.get() as f64);
    let help = "Connections closed to make place for newcomers, by what they did until then.";
    let mut family = text.family("bowline_connections_evicted_total", Type::Counter, help);
    let states = [("silent", &metrics.evicted_silent), ("resting", &metrics.evicted_resting)];
    for (state, count) in states {
        family.sample(&[("state", state)], count.get() as f64);
    }
    let help = "Connections refused because as many were busy as there are file descriptors for.";
    text.counter("bowline_connections_refused_total", help, metrics.refused.get());
    let help = "Connections ended because their client asked too much: too many small frames, resets or headers.";
    text.counter("bowline_connections_cut_off_total", help, metrics.cut_off.get());
}

fn scrapes(text: &mut Text, shared: &Shared) {
    let in_flight = shared.http.scrapes_in_flight.get() as f64;
    text.gauge("promhttp_metric_handler_requests_in_flight", "Scrapes being answered.", in_flight);
    let mut family = text.family("promhttp_metric_handler_requests_total", Type::Counter, "Scrapes answered.");
    for (code, count) in [("200", shared.http.scrapes.get()), ("500", 0), ("503", 0)] {
        family.sample(&[("code", code)], count as f64);
    }
}

fn process_of(text: &mut Text, shared: &Shared) {
    let started = shared.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    text.gauge("process_start_time_seconds", "Unix time at which the process began to serve.", started);
    // Without /proc these are missing, as with other exporters.
    let Ok(process) = process::read() else { return };
    text.family("process_cpu_seconds_total", Type::Counter, "CPU time of the process.")
        .sample(&[], process.cpu_seconds);
    text.gauge("process_resident_memory_bytes", "Resident memory.", process.resident_bytes as f64);
    text.gauge("process_virtual_memory_bytes", "Address space in use.", process.virtual_bytes as f64);
    let limit = process.virtual_bytes_max as f64;
    text.gauge("process_virtual_memory_max_bytes", "Address space allowed.", limit);
    text.gauge("process_open_fds", "Open file descriptors.", process.fds as f64);
    text.gauge("process_max_fds", "File descriptors allowed.", process.fds_max as f64);
    let received = process.network_received_bytes;
    text.counter("process_network_receive_bytes_total", "Bytes received over the network.", received);
    let sent = process.network_sent_bytes;
    text.counter("process_network_transmit_bytes_total", "Bytes sent over the network.", sent);
    text.gauge("os_fd_used", "Open file descriptors.", process.fds as f64);
    text.gauge("os_fd_limit", "File descriptors allowed.", process.fds_max as f64);
}
