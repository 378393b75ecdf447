//! Looks into a store for what keeps a Kubernetes control plane from booting or its store from being written, and
//! explains it.
//!
//! A source gives entries, collecting makes facts of them, rules make findings of facts, and the report prints
//! findings. Rules read nothing but facts, so that the facts of one bad night are a test for ever. Nothing is changed
//! but by the commands that say so, and those show what they would do until they are told to do it.
#![forbid(unsafe_code)]

pub mod boot;
pub mod change;
pub mod explain;
pub mod facts;
pub mod finding;
pub mod report;
pub mod source;
pub mod space;
pub mod webhooks;
