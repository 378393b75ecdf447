//! Kubernetes-shaped load on Bowline and on etcd, and what it does to space, to refusals and to everybody else's
//! latency.
//!
//! A workload (`catalog`) is a seeded iterator of steps in virtual time (`step`, `churn`, `objects`); `run` sends them;
//! `observe` watches from outside; `report` says what was found. The same seed sends the same bytes in the same order
//! about each key to every server.
//!
//! Not here: correctness of answers (the conformance tests have that) and cost of single operations (`bench`).
#![forbid(unsafe_code)]

pub mod beside;
pub mod catalog;
pub mod check;
pub mod churn;
pub mod client;
pub mod flood;
pub mod incident;
pub mod measure;
pub mod objects;
pub mod observe;
pub mod plot;
pub mod random;
pub mod readers;
pub mod report;
pub mod run;
pub mod step;
