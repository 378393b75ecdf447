//! What the crate promises, tested on real keys: golden scripts, a plain model, etcd's known bugs, and restarts.

mod budgets;
mod known_bugs;
mod model_state;
mod operations;
mod random_commands;
mod restarts;
mod script_parser;
mod scripts;
mod world;
