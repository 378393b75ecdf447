//! How a thread shares the cores with the others of its process.

/// Nicer than the others by this: about a tenth of their share while both want a core, all of it while none does.
const NICER: i32 = 10;

/// From now on the calling thread gives way to the others, whatever the priority of the process. Where the system does
/// not let it, it goes on as it is: only requests' longest waits depend on it.
pub fn give_way() {
    // On Linux a priority is a thread's own, and no process means the calling thread. What is above 19 counts as 19.
    let _ = rustix::process::getpriority_process(None)
        .and_then(|nice| rustix::process::setpriority_process(None, nice + NICER));
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_gives_way() {
        let priority = || rustix::process::getpriority_process(None).expect("a thread knows its priority");
        let before = priority();
        let other = std::thread::spawn(move || {
            give_way();
            priority()
        });
        assert_eq!(other.join().expect("it does not panic"), (before + NICER).min(19));
        assert_eq!(priority(), before);
    }
}
