//! A watch over the whole run: a sequence that never ends is printed like any other that fails.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::program::Program;

/// No sequence takes as long: an operation may take one minute, the end after firmware faults one and a half.
const LONGEST: Duration = Duration::from_secs(240);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(5);

/// The sequence under way: since when, its title, its operations.
type Under = Option<(Instant, String, Program)>;

/// A thread that looks at the clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch(Arc<Mutex<Under>>);

impl Watch {
    /// Watches until the process ends.
    pub(crate) fn new() -> Self {
        let watch = Self::default();
        let own = watch.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(PAUSE);
                own.look();
            }
        });
        watch
    }

    /// A sequence begins.
    pub(crate) fn begin(&self, title: String, program: &Program) {
        let under = Some((Instant::now(), title, program.clone()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = under;
    }

    /// It has ended.
    pub(crate) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Ends everything if a sequence hangs: whoever hangs in the kernel cannot be waited for.
    fn look(&self) {
        let under = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((began, title, program)) = &*under
            && began.elapsed() > LONGEST
        {
            println!("# {title} hangs since {} s:", began.elapsed().as_secs());
            println!("--- begin of the sequence\n{program}--- end of the sequence");
            print!("{}", stacks());
            eprintln!("laptop-fuzz: {title} hangs");
            std::process::exit(1);
        }
    }
}

/// Where in the kernel every thread of ours stands, children's and module's work included: what hangs is among them.
fn stacks() -> String {
    let entries = |path: &str| std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut text = String::new();
    for process in entries("/proc") {
        let tasks = process.path().join("task");
        for task in entries(&tasks.to_string_lossy()) {
            let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let (name, stack) = (read("comm"), read("stack"));
            if name.contains("fuzz") || stack.contains("dsmil") {
                let number = task.file_name();
                let _cannot_fail =
                    writeln!(text, "# {} {}: {}{stack}", number.display(), name.trim(), read("syscall"));
            }
        }
    }
    text
}
