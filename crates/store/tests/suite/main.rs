//! The store from outside: crashes, failing and full disks, damage, random operations, golden scripts.

mod caller;
mod crash;
mod damage;
mod faults;
mod model;
mod read_many;
mod scripts;
mod write_back;
