//! The table: every flag of etcd 3.7, in the order in which help prints them.
//!
//! Where a bound is ours (etcd takes zero, negative and absurd numbers in places and falls over later), the help text
//! or the reference page shows it.

use super::{Flag, Kind, Section};

const NS_PER_S: i128 = 1_000_000_000;
const YEAR_NS: i128 = 365 * 24 * 3600 * NS_PER_S;

/// Log segments hold whole entries and are 64 MiB; half of one leaves space for the rest of a batch. etcd takes any
/// number, so more is taken here, and requests beyond this are refused all the same.
pub const REQUEST_BYTES_MAX: i128 = 32 << 20;
/// The log would grow without end before it is trimmed.
pub const CHECKPOINT_ENTRIES_MAX: i128 = 10_000_000;

const NO_BACKEND: &str = "there is no bbolt file to tune: values live in append-only segments";
const NO_PEERS: &str = "a single member talks to no peer";
const NO_DISCOVERY: &str = "discovery services need clusters of several members, which are not there yet";
const NO_AUTH: &str = "users and roles are not there yet";
const NO_PASSWORDS: &str = "users and roles are not there yet, so no password is hashed and no token is given out";
const NO_TRACING: &str = "spans are not exported yet";
const NO_ROTATION: &str = "log files are not rotated yet; rotate them from outside by copying and truncating";
const ONE_MEMBER_AGREES: &str = "a single member has nobody to compare itself with; checksums guard its own bytes";

const fn member(name: &'static str, kind: Kind, default: &'static str) -> Flag {
    Flag::new(name, Section::Member, kind, default)
}

const fn clustering(name: &'static str, kind: Kind, default: &'static str) -> Flag {
    Flag::new(name, Section::Clustering, kind, default)
}

const fn security(name: &'static str, kind: Kind, default: &'static str) -> Flag {
    Flag::new(name, Section::Security, kind, default)
}

const fn discovery(name: &'static str, kind: Kind, default: &'static str) -> Flag {
    Flag::new(name, Section::Clustering, kind, default).not_yet(NO_DISCOVERY)
}

const fn logging(name: &'static str, kind: Kind, default: &'static str) -> Flag {
    Flag::new(name, Section::Logging, kind, default)
}

const fn tracing(name: &'static str, kind: Kind, default: &'static str) -> Flag {
    Flag::new(name, Section::Tracing, kind, default).not_yet(NO_TRACING)
}

const fn feature(name: &'static str, kind: Kind, default: &'static str) -> Flag {
    Flag::new(name, Section::Features, kind, default)
}

pub static FLAGS: &[Flag] = &[
    // Member
    member("name", Kind::Text, "default")
        .help("Name of this member; its entry in --initial-cluster carries the same name."),
    member("data-dir", Kind::Text, "")
        .help("Directory that holds everything this member keeps; '${name}.etcd' if not set."),
    member("wal-dir", Kind::Text, "").help("Directory of the raft log; inside the data directory if not set."),
    member("snapshot-count", Kind::Unsigned, "10000")
        .unit("entries")
        .help(
            "Applied log entries after which a checkpoint is taken and the raft log trimmed behind it; 10000000 at most.\n\
             0 means the default.",
        ),
    member("heartbeat-interval", Kind::Unsigned, "100")
        .unit("ms")
        .bounds(1, 10_000)
        .help("Time between two heartbeats of the leader."),
    member("election-timeout", Kind::Unsigned, "1000")
        .unit("ms")
        .bounds(1, 50_000)
        .help("Time without a heartbeat after which a member stands for election; at least 5 heartbeats."),
    member("initial-election-tick-advance", Kind::Bool, "true")
        .accepted("a single member becomes leader at once")
        .help("Shorten the wait for the first election after a start."),
    member("listen-peer-urls", Kind::Urls, "http://localhost:2380").help("URLs to listen on for the other members."),
    member("listen-client-urls", Kind::Urls, "http://localhost:2379")
        .help("URLs to listen on for clients: gRPC, and HTTP too unless --listen-client-http-urls is set."),
    member("listen-client-http-urls", Kind::Urls, "")
        .help("URLs to listen on for HTTP alone; --listen-client-urls then serve only gRPC."),
    member("max-snapshots", Kind::Unsigned, "5")
        .accepted("there are no snapshot files: checkpoints replace one another")
        .help("Snapshot files to keep."),
    member("max-wals", Kind::Unsigned, "5")
        .accepted("log segments behind a checkpoint are recycled, so that their number is bounded anyway")
        .help("Log files to keep."),
    member("memory-mlock", Kind::Bool, "false").accepted(NO_BACKEND).help("Keep the pages of the database in RAM."),
    member("quota-backend-bytes", Kind::Signed, "0").unit("bytes").bounds(i64::MIN as i128, i64::MAX as i128).help(
        "Limit on retained bytes: live values and the history not yet compacted. Growth beyond it is refused.\n\
             0 means 2 GiB, a negative number no limit.",
    ),
    member("space-pressure-retention", Kind::Duration, "5m").bounds(0, YEAR_NS).help(
        "From 80 % of the quota on, history older than this is compacted by the server itself; a tenth of it, at most 2s, while the\n\
             NOSPACE alarm is up. 0 means never.",
    ),
    member("space-strict-etcd", Kind::Bool, "false")
        .help("NOSPACE as in etcd: every put is refused from then on, until the alarm is disarmed by hand."),
    member("space-account-depth", Kind::Unsigned, "2")
        .unit("components")
        .bounds(1, 8)
        .help("How many components of a key's directory name its account, by which space is counted and limited."),
    member("memory-in-flight-mib", Kind::Unsigned, "256")
        .unit("MiB")
        .bounds(16, 1 << 20)
        .help(
            "Memory that requests and answers on their way may take, a quarter of it for one connection. What does not fit waits\n\
             in line for up to 5s and is then refused. At least one message of --max-request-bytes fits.",
        ),
    member("scrub-mib-per-s", Kind::Unsigned, "1")
        .unit("MiB/s")
        .bounds(0, 1 << 20)
        .help("How fast what is stored is read over and checked in the background, round after round; 0 means never."),
    member("backend-bbolt-freelist-type", Kind::Text, "map")
        .accepted(NO_BACKEND)
        .help("Kind of freelist in a bbolt file ('map' or 'array')."),
    member("backend-batch-interval", Kind::Duration, "0s")
        .accepted(NO_BACKEND)
        .help("Longest time between two commits of a bbolt file."),
    member("backend-batch-limit", Kind::Signed, "0")
        .accepted(NO_BACKEND)
        .help("Operations after which a bbolt file is committed."),
    member("max-txn-ops", Kind::Unsigned, "128")
        .unit("operations")
        .bounds(0, u32::MAX as i128)
        .help("Operations that one transaction may hold."),
    member("max-request-bytes", Kind::Unsigned, "1572864")
        .unit("bytes")
        .bounds(1024, u64::MAX as i128)
        .help("Size of the largest request that changes something; 33554432 at most, whatever is given."),
    member("max-concurrent-streams", Kind::Unsigned32, "4294967295")
        .unit("streams")
        .help("Streams that one client connection may have open at a time; 0 means no limit."),
    member("grpc-keepalive-min-time", Kind::Duration, "5s")
        .bounds(0, YEAR_NS)
        .help("Shortest time that a client must leave between two pings."),
    member("grpc-keepalive-interval", Kind::Duration, "2h")
        .bounds(0, YEAR_NS)
        .help("Idle time after which the server pings a client; 0 turns pings off."),
    member("grpc-keepalive-timeout", Kind::Duration, "20s")
        .bounds(0, YEAR_NS)
        .help("Time that a pinged client has to answer before its connection is closed."),
    member("socket-reuse-port", Kind::Bool, "false")
        .in_file("socket-options.reuse-port")
        .help("Set SO_REUSEPORT on listeners, so that a port in use can be bound again."),
    member("socket-reuse-address", Kind::Bool, "false")
        .in_file("socket-options.reuse-address")
        .accepted("it is set on every listener anyway")
        .help("Set SO_REUSEADDR on listeners, so that an address in TIME_WAIT can be bound."),
    member("enable-grpc-gateway", Kind::Bool, "true").help(
        "Serve the JSON gateway under /v3/.\nThe gateway is not there yet: asking for it explicitly logs a warning.",
    ),
    member("raft-read-timeout", Kind::Duration, "5s")
        .not_in_file()
        .accepted(NO_PEERS)
        .help("Read timeout of connections between members."),
    member("raft-write-timeout", Kind::Duration, "5s")
        .not_in_file()
        .accepted(NO_PEERS)
        .help("Write timeout of connections between members."),
    member("feature-gates", Kind::Gates, "")
        .help("Features to switch, as name=true|false, comma-separated. A name must be one of the listed."),
    // Clustering
    clustering("initial-advertise-peer-urls", Kind::Urls, "http://localhost:2380")
        .help("URLs under which the other members reach this one."),
    clustering("initial-cluster", Kind::Text, "")
        .help("Members of a new cluster as name=url, comma-separated; this member alone if not set."),
    clustering("initial-cluster-state", Kind::Choice(&["new", "existing"]), "new")
        .help("'new' to found a cluster, 'existing' to join one. Ignored once the data directory holds a member."),
    clustering("initial-cluster-token", Kind::Text, "etcd-cluster")
        .help("Goes into the ids of cluster and members, so that clusters with the same URLs cannot mix."),
    clustering("advertise-client-urls", Kind::Urls, "http://localhost:2379")
        .help("URLs under which clients reach this member; required when --listen-client-urls is set."),
    discovery("discovery-token", Kind::Text, "")
        .in_file("discovery-config.token")
        .help("Token of the cluster at a v3 discovery service."),
    discovery("discovery-endpoints", Kind::List, "")
        .in_file("discovery-config.client.endpoints")
        .help("Endpoints of a v3 discovery service."),
    discovery("discovery-dial-timeout", Kind::Duration, "2s")
        .in_file("discovery-config.client.dial-timeout")
        .help("Dial timeout towards the discovery service."),
    discovery("discovery-request-timeout", Kind::Duration, "5s")
        .in_file("discovery-config.client.request-timeout")
        .help("Request timeout towards the discovery service."),
    discovery("discovery-keepalive-time", Kind::Duration, "2s")
        .in_file("discovery-config.client.keepalive-time")
        .help("Keepalive time towards the discovery service."),
    discovery("discovery-keepalive-timeout", Kind::Duration, "6s")
        .in_file("discovery-config.client.keepalive-timeout")
        .help("Keepalive timeout towards the discovery service."),
    discovery("discovery-insecure-transport", Kind::Bool, "true")
        .in_file("discovery-config.client.secure.insecure-transport")
        .help("Talk to the discovery service without TLS."),
    discovery("discovery-insecure-skip-tls-verify", Kind::Bool, "false")
        .in_file("discovery-config.client.secure.insecure-skip-tls-verify")
        .help("Do not verify the certificate of the discovery service."),
    discovery("discovery-cert", Kind::Text, "")
        .in_file("discovery-config.client.secure.cert")
        .help("Client certificate for the discovery service."),
    discovery("discovery-key", Kind::Text, "")
        .in_file("discovery-config.client.secure.key")
        .help("Client key for the discovery service."),
    discovery("discovery-cacert", Kind::Text, "")
        .in_file("discovery-config.client.secure.cacert")
        .help("CA bundle that verifies the discovery service."),
    discovery("discovery-user", Kind::Text, "")
        .in_file("discovery-config.client.auth.username")
        .help("User name, or name:password, at the discovery service."),
    discovery("discovery-password", Kind::Text, "")
        .in_file("discovery-config.client.auth.password")
        .help("Password at the discovery service."),
    discovery("discovery-fallback", Kind::Choice(&["exit", "proxy"]), "exit")
        .not_in_file()
        .help("What to do when discovery fails; only 'exit' is left."),
    clustering("discovery-srv", Kind::Text, "")
        .not_yet(NO_DISCOVERY)
        .help("DNS domain whose SRV records name the members."),
    clustering("discovery-srv-name", Kind::Text, "").not_yet(NO_DISCOVERY).help("Suffix of the SRV service name."),
    clustering("strict-reconfig-check", Kind::Bool, "true")
        .accepted("membership cannot be changed yet, so no change can cost the quorum")
        .help("Refuse membership changes that would lose the quorum."),
    clustering("pre-vote", Kind::Bool, "true").accepted("a single member stands for election against nobody").help(
        "Ask for votes before standing for election, so that a returning member does not disturb a healthy leader.",
    ),
    clustering("auto-compaction-retention", Kind::Text, "0")
        .help("How much history automatic compaction keeps; 0 turns it off."),
    clustering("auto-compaction-mode", Kind::Text, "periodic")
        .help("'periodic': the retention is a time, in hours if it has no unit; 'revision': a number of revisions."),
    clustering(
        "v2-deprecation",
        Kind::Choice(&["write-only", "write-only-skip-check", "write-only-drop-data", "gone"]),
        "write-only",
    )
    .not_in_file()
    .accepted("there never was a v2 store here")
    .help("Phase of the removal of the v2 store."),
    // Security
    security("cert-file", Kind::Text, "")
        .in_file("client-transport-security.cert-file")
        .help("Certificate shown to clients, PEM."),
    security("key-file", Kind::Text, "")
        .in_file("client-transport-security.key-file")
        .help("Private key of --cert-file, PEM."),
    security("client-cert-auth", Kind::Bool, "false")
        .in_file("client-transport-security.client-cert-auth")
        .help("Require a client certificate that the trusted CA has signed."),
    security("client-cert-file", Kind::Text, "")
        .in_file("client-transport-security.client-cert-file")
        .accepted("this member opens no connection to itself, so it needs no certificate to show there")
        .help("Certificate that this member shows when it calls its own client port."),
    security("client-key-file", Kind::Text, "")
        .in_file("client-transport-security.client-key-file")
        .accepted("this member opens no connection to itself, so it needs no key to use there")
        .help("Private key of --client-cert-file."),
    security("client-crl-file", Kind::Text, "")
        .not_in_file()
        .help("List of revoked client certificates, PEM or DER; read again when it changes."),
    security("client-cert-allowed-hostname", Kind::List, "")
        .in_file("client-transport-security.allowed-hostname")
        .not_yet("client certificates cannot be limited to host names yet")
        .help("Host names of which a client certificate must carry one."),
    security("trusted-ca-file", Kind::Text, "")
        .in_file("client-transport-security.trusted-ca-file")
        .help("CA bundle that verifies client certificates, PEM. Setting it requires client certificates."),
    security("auto-tls", Kind::Bool, "false")
        .in_file("client-transport-security.auto-tls")
        .help("Serve clients with a generated certificate, which is kept in the data directory."),
    security("peer-cert-file", Kind::Text, "")
        .in_file("peer-transport-security.cert-file")
        .help("Certificate shown to other members, PEM."),
    security("peer-key-file", Kind::Text, "")
        .in_file("peer-transport-security.key-file")
        .help("Private key of --peer-cert-file, PEM."),
    security("peer-client-cert-auth", Kind::Bool, "false")
        .in_file("peer-transport-security.client-cert-auth")
        .help("Require a certificate of other members."),
    security("peer-client-cert-file", Kind::Text, "")
        .in_file("peer-transport-security.client-cert-file")
        .help("Certificate to show when calling other members; --peer-cert-file if not set."),
    security("peer-client-key-file", Kind::Text, "")
        .in_file("peer-transport-security.client-key-file")
        .help("Private key of --peer-client-cert-file."),
    security("peer-trusted-ca-file", Kind::Text, "")
        .in_file("peer-transport-security.trusted-ca-file")
        .help("CA bundle that verifies other members, PEM."),
    security("peer-cert-allowed-cn", Kind::List, "")
        .in_file("peer-transport-security.allowed-cn")
        .accepted(NO_PEERS)
        .help("Common names of which another member's certificate must carry one."),
    security("peer-cert-allowed-hostname", Kind::List, "")
        .in_file("peer-transport-security.allowed-hostname")
        .accepted(NO_PEERS)
        .help("Host names of which another member's certificate must carry one."),
    security("peer-auto-tls", Kind::Bool, "false")
        .in_file("peer-transport-security.auto-tls")
        .help("Talk to other members with a generated certificate, which is kept in the data directory."),
    security("self-signed-cert-validity", Kind::Unsigned, "1")
        .unit("years")
        .bounds(0, 100)
        .help("How long generated certificates are valid."),
    security("peer-crl-file", Kind::Text, "")
        .not_in_file()
        .help("List of revoked certificates of members, PEM or DER."),
    security("cipher-suites", Kind::List, "")
        .help("TLS 1.2 cipher suites to offer, by their IANA names; a safe set if not set."),
    security("cors", Kind::Origins, "*").help("Origins that browsers may call from; '*' or nothing allows all."),
    security("host-whitelist", Kind::Words, "*")
        .help("Host names that plain HTTP requests may ask for; '*' or nothing allows all."),
    security("tls-min-version", Kind::Text, "TLS1.2").help("Oldest TLS version to speak: TLS1.2 or TLS1.3."),
    security("tls-max-version", Kind::Text, "")
        .help("Newest TLS version to speak: TLS1.2 or TLS1.3; the newest if not set."),
    // Auth
    Flag::new("auth-token", Section::Auth, Kind::Text, "simple")
        .not_yet(NO_AUTH)
        .help("Kind of tokens: 'simple', or 'jwt' and its options."),
    Flag::new("bcrypt-cost", Section::Auth, Kind::Unsigned, "10")
        .bounds(4, 31)
        .accepted(NO_PASSWORDS)
        .help("Cost of hashing a password, 4 to 31."),
    Flag::new("auth-token-ttl", Section::Auth, Kind::Unsigned, "300")
        .unit("seconds")
        .bounds(0, u32::MAX as i128)
        .accepted(NO_PASSWORDS)
        .help("Time after which an unused simple token expires."),
    // Profiling and Monitoring
    Flag::new("enable-pprof", Section::Monitoring, Kind::Bool, "false")
        .accepted("profiles cannot be fetched over HTTP; use perf")
        .help("Serve profiles under /debug/pprof/."),
    Flag::new("metrics", Section::Monitoring, Kind::Text, "basic")
        .help("How much /metrics shows: 'basic', or 'extensive' with latency histograms of every gRPC method."),
    Flag::new("listen-metrics-urls", Section::Monitoring, Kind::Urls, "")
        .help("Further URLs that serve /metrics, /health, /livez and /readyz; https uses the client certificate."),
    // Logging
    logging("logger", Kind::Text, "zap").help("Kind of logger; 'zap' is the only name there is."),
    logging("log-outputs", Kind::List, "default")
        .help("Where log records go: 'default' (standard error), 'stderr', 'stdout' or file paths, comma-separated."),
    logging("log-level", Kind::Text, "info").help("Least level to log: debug, info, warn, error, panic or fatal."),
    logging("log-format", Kind::Text, "json").help("'json', or 'console' for people."),
    logging("enable-log-rotation", Kind::Bool, "false").not_yet(NO_ROTATION).help("Rotate the one log file."),
    logging(
        "log-rotation-config-json",
        Kind::Text,
        r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#,
    )
    .not_yet(NO_ROTATION)
    .help("How to rotate the log file, as JSON."),
    logging("warning-unary-request-duration", Kind::Duration, "300ms")
        .bounds(0, YEAR_NS)
        .help("A unary request that takes longer is logged as a warning."),
    // Distributed tracing
    tracing("enable-distributed-tracing", Kind::Bool, "false").help("Export spans over OTLP."),
    tracing("distributed-tracing-address", Kind::Text, "localhost:4317").help("Address of the span collector."),
    tracing("distributed-tracing-service-name", Kind::Text, "etcd").help("Service name that spans carry."),
    tracing("distributed-tracing-instance-id", Kind::Text, "").help("Instance id that spans carry."),
    tracing("distributed-tracing-sampling-rate", Kind::Signed, "0")
        .unit("per million")
        .bounds(0, 1_000_000)
        .help("Share of spans to export."),
    // Features
    feature("corrupt-check-time", Kind::Duration, "0s")
        .bounds(0, YEAR_NS)
        .accepted(ONE_MEMBER_AGREES)
        .help("Time between two comparisons of the members' contents; 0 turns them off."),
    feature("compact-hash-check-time", Kind::Duration, "1m")
        .bounds(1, YEAR_NS)
        .accepted(ONE_MEMBER_AGREES)
        .help("Time between two comparisons of the members' compaction hashes."),
    feature("compaction-batch-limit", Kind::Signed, "0")
        .bounds(0, i64::MAX as i128)
        .accepted("compaction paces itself")
        .help("Revisions to delete in one go during compaction."),
    feature("peer-skip-client-san-verification", Kind::Bool, "false")
        .in_file("peer-transport-security.skip-client-san-verification")
        .accepted(NO_PEERS)
        .help("Do not compare another member's address with the names in its certificate."),
    feature("watch-progress-notify-interval", Kind::Duration, "0s")
        .bounds(0, YEAR_NS)
        .help("Time between two progress notifications of a quiet watch; 0 means 10 minutes."),
    feature("warning-apply-duration", Kind::Duration, "100ms")
        .bounds(0, YEAR_NS)
        .help("A request that takes longer to apply is logged as a warning."),
    feature("bootstrap-defrag-threshold-megabytes", Kind::Unsigned, "0")
        .unit("MB")
        .accepted("there is nothing to defragment")
        .help("Defragment at start if that frees so much."),
    feature("max-learners", Kind::Signed, "1")
        .bounds(0, i32::MAX as i128)
        .accepted("membership cannot be changed yet, so there is no learner to count")
        .help("Learners that a cluster may have."),
    feature("compaction-sleep-interval", Kind::Duration, "0s")
        .bounds(0, YEAR_NS)
        .accepted("compaction paces itself")
        .help("Pause between two batches of compaction."),
    feature("downgrade-check-time", Kind::Duration, "5s")
        .bounds(0, YEAR_NS)
        .accepted("a single member has no cluster to downgrade with")
        .help("Time between two looks at a downgrade in progress."),
    feature("snapshot-catchup-entries", Kind::Unsigned, "5000")
        .unit("entries")
        .accepted("the raft log keeps whole segments, and a single member has no follower to catch up")
        .help("Log entries to keep for slow followers behind a checkpoint."),
    // Unsafe
    Flag::new("force-new-cluster", Section::Unsafe, Kind::Bool, "false")
        .help("Make this member the only one of its cluster; a single member already is."),
    Flag::new("unsafe-no-fsync", Section::Unsafe, Kind::Bool, "false")
        .help("Do not wait for the disk. A power loss then loses acknowledged writes."),
];
