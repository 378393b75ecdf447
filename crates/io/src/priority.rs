//! How a thread shares the cores with the others of its process.

/// About a tenth of the share that a thread which answers requests gets while both want a core; all of it while none does.
const NICE: i32 = 10;

/// From now on the calling thread gives way to others. Where the system does not let it, it goes on as it is: only requests'
/// longest waits depend on it.
pub fn give_way() {
    // On Linux a priority is a thread's own, and no process means the calling thread.
    let _ = rustix::process::setpriority_process(None, NICE);
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
        assert_eq!(other.join().expect("it does not panic"), before.max(NICE));
        assert_eq!(priority(), before);
    }
}
