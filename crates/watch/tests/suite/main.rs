//! What the crate promises, tested on real keys: golden scripts, etcd's known bugs, random histories.

mod known_bugs;
mod random_histories;
mod scripts;
mod world;
