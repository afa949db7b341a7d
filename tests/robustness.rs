//! No operation uses the heap, each is content with a small stack, and what flush-to-zero set by the host program
//! does is known: nothing, where neither an argument nor a result is subnormal.

mod operations;

use lossprep::{Kernels, Layout};
use operations::{Bits, Case, Random, backends, run_all};
use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: as the system's allocator, which does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Memory) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Memory) {
        // SAFETY: likewise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn cases<T: Bits>() -> Vec<Case<T>> {
    let mut random = Random(0x726f_6275);
    [(1, 1, 1), (40, 7, 1), (3, 1000, 1), (2, 19, 37), (1, 70_000, 1)]
        .map(|(outer, len, inner)| Case::new(&mut random, Layout::new(outer, len, inner).unwrap(), 3.0, true))
        .into()
}

/// `run_all` makes one vector for each result that is not empty: there must be no allocation beyond those.
fn allocations<T: Bits>(k: Kernels) {
    for case in cases::<T>() {
        let mut results = 0;
        let before = ALLOCATIONS.get();
        run_all(k, &case, 0, |_, _, out| results += usize::from(!out.is_empty()));
        let made = ALLOCATIONS.get() - before;
        assert_eq!(made, results, "{} {}: a kernel allocates", k.backend(), T::NAME);
    }
}

#[test]
fn no_operation_uses_the_heap() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![1_u8]));
    assert_eq!(ALLOCATIONS.get(), before + 1, "allocations are counted");
    for backend in backends() {
        let k = backend.try_get().unwrap();
        allocations::<f32>(k);
        allocations::<f64>(k);
    }
}

#[test]
fn a_stack_of_256_kib_is_enough() {
    let work = || {
        for backend in backends() {
            let k = backend.try_get().unwrap();
            cases::<f32>().iter().for_each(|case| run_all(k, case, 0, |_, _, _| {}));
            cases::<f64>().iter().for_each(|case| run_all(k, case, 0, |_, _, _| {}));
        }
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(work).unwrap().join().unwrap();
}

#[cfg(target_arch = "x86_64")]
mod flush_to_zero {
    use super::{Bits, Case, Kernels, Layout, Random, backends, run_all};
    use std::arch::asm;

    /// The control register: bit 15 flushes subnormal results to zero, bit 6 takes subnormal arguments for zero.
    fn control() -> u32 {
        let mut value = 0_u32;
        // SAFETY: stores the register to the variable.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut value, options(nostack, preserves_flags)) };
        value
    }

    fn set_control(value: u32) {
        // SAFETY: only the two bits above differ from what the compiler assumes, and code that depends on subnormal
        // numbers runs under them in this test alone.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &value, options(nostack, preserves_flags, readonly)) };
    }

    const FLUSH: u32 = 1 << 15 | 1 << 6;

    fn results<T: Bits>(k: Kernels, case: &Case<T>) -> Vec<(&'static str, &'static str, Vec<T>)> {
        let mut all = Vec::new();
        run_all(k, case, 0, |name, form, out| all.push((name, form, out.to_vec())));
        all
    }

    fn check<T: Bits>(k: Kernels, scale: f64) {
        let mut random = Random(0x6674_7a00);
        for (outer, len, inner) in [(7, 9, 1), (1, 1003, 1), (2, 5, 21)] {
            let case = Case::<T>::new(&mut random, Layout::new(outer, len, inner).unwrap(), scale, false);
            let usual = results(k, &case);
            let before = control();
            set_control(before | FLUSH);
            let flushed = results(k, &case);
            let after = control();
            set_control(before);
            // The status flags aside.
            assert_eq!(after & !0x3f, (before | FLUSH) & !0x3f, "a kernel changes the control register");
            let mut subnormal = 0;
            for ((name, form, a), (_, _, b)) in usual.iter().zip(&flushed) {
                for (a, b) in a.iter().zip(b) {
                    if a.is_subnormal() {
                        subnormal += 1;
                        assert!(
                            b.is_zero() || b.bits() == a.bits(),
                            "{} {name} {form}: {a:e} {b:e}",
                            k.backend()
                        );
                    } else {
                        assert_eq!(a.bits(), b.bits(), "{} {name} {form}: {a:e} {b:e}", k.backend());
                    }
                }
            }
            assert!(scale < 50.0 || T::NAME == "f64" || subnormal > 0, "no subnormal result was tried");
        }
    }

    #[test]
    fn only_subnormal_results_are_lost_under_flush_to_zero() {
        for backend in backends() {
            let k = backend.try_get().unwrap();
            for scale in [1.0, 60.0] {
                check::<f32>(k, scale);
                check::<f64>(k, scale);
            }
        }
    }
}
