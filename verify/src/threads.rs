//! Work for all processors.

/// Kernels that are inlined whole need large frames in a build without optimisation.
const STACK: usize = 64 << 20;

/// What `worker` returns on each thread; the workers share out their work themselves.
pub fn on_all<R: Send>(worker: impl Fn() -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, &worker))
            .collect();
        let join = |handle: std::io::Result<std::thread::ScopedJoinHandle<'_, R>>| {
            let joined = handle.map(std::thread::ScopedJoinHandle::join);
            match joined.unwrap_or_else(|error| Err(Box::new(error))) {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        };
        workers.into_iter().map(join).collect()
    })
}
