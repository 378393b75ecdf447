//! Files that etcd made, and files that nobody should have made.

mod builder;
mod damage;
mod made_by_etcd;
