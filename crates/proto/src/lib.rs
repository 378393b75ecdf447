//! The messages of etcd's client protocol and of our own service beside it, generated from our own `.proto` files, and
//! with the feature `client` the stubs to call it. Names and numbers are fixed by every existing client; the words are
//! ours. Byte fields are `Bytes` that share the buffer they were decoded from.
//!
//! Not here: routing, framing and what a call does (`api`), raft messages between members (`transport`).
#![forbid(unsafe_code)]
// Generated enum variants all carry the names of the wire contract.
#![allow(clippy::enum_variant_names)]

/// Keys, values and events.
pub mod mvccpb {
    include!(concat!(env!("OUT_DIR"), "/mvccpb.rs"));
}

/// Users, roles, permissions.
pub mod authpb {
    include!(concat!(env!("OUT_DIR"), "/authpb.rs"));
}

/// KV, Watch, Lease, Cluster, Maintenance, Auth.
pub mod etcdserverpb {
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}

/// The standard gRPC health protocol.
pub mod health {
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
}

/// Server-side lock.
pub mod v3lockpb {
    include!(concat!(env!("OUT_DIR"), "/v3lockpb.rs"));
}

/// Server-side election.
pub mod v3electionpb {
    include!(concat!(env!("OUT_DIR"), "/v3electionpb.rs"));
}

/// What Bowline tells and does beyond etcd's protocol.
pub mod bowline {
    include!(concat!(env!("OUT_DIR"), "/bowline.v1.rs"));
}
