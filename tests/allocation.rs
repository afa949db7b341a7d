//! No loss allocates: what a call needs is what its caller passes.

use lossprep::{
    ClassOptions, CrossEntropyOptions, Layout, NormGuard, Target, contrastive_workspace,
    cross_entropy_with_grad_in_place, focal_loss_with_grad, nt_xent_with_grad, triplet_margin_with_grad,
};
use std::alloc::{GlobalAlloc, Layout as Bytes, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, bytes: Bytes) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(bytes) }
    }
    unsafe fn dealloc(&self, at: *mut u8, bytes: Bytes) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, bytes) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often a call asks for memory.
fn allocations(call: impl FnOnce() -> Result<(), lossprep::Error>) -> usize {
    let before = ALLOCATIONS.get();
    call().unwrap();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    let mut kept = Vec::new();
    let count = allocations(|| {
        kept.push(1);
        Ok(())
    });
    assert_eq!(count, 1);
}

#[test]
fn a_vocabulary_of_131072_needs_no_buffer() {
    let layout = Layout::rows(2, 131_072).unwrap();
    let mut logits: Vec<f32> = (0..layout.elements()).map(|i| ((i * 37) % 101) as f32 * 0.1).collect();
    let (target, options) = (Target::Classes(&[77_777, 5]), CrossEntropyOptions::new());
    let mut losses = [0.0; 2];
    // What is found out once a process may allocate.
    lossprep::softmax(&[0.0_f32], Layout::rows(1, 1).unwrap(), &mut [0.0]).unwrap();
    let plain = allocations(|| {
        cross_entropy_with_grad_in_place(&mut logits, target, &[0.5; 2], layout, &options, &mut losses)
    });
    let options = options.label_smoothing(0.1).softcap(30.0).z_loss(1e-4);
    let full = allocations(|| {
        cross_entropy_with_grad_in_place(&mut logits, target, &[0.5; 2], layout, &options, &mut losses)
    });
    assert_eq!((plain, full), (0, 0));
}

#[test]
fn the_other_losses_need_none_either() {
    let layout = Layout::rows(4, 9).unwrap();
    let x: Vec<f64> = (0..36).map(|i| f64::from(i * 7 % 11) - 5.0).collect();
    let (mut losses, mut a, mut b, mut c) = ([0.0; 4], [0.0; 36], [0.0; 36], [0.0; 36]);
    let mut workspace = vec![0.0; contrastive_workspace::<f64>(layout).unwrap()];
    let guard = Some(NormGuard::default());
    let count = allocations(|| {
        let class = ClassOptions::new();
        focal_loss_with_grad(&x, &[1, 2, 3, 4], 2.0, &[1.0; 4], layout, &class, &mut losses, &mut a)?;
        let grads = [&mut a[..], &mut b[..], &mut c[..]];
        triplet_margin_with_grad(&x, &x, &x, 0.2, guard, &[1.0; 4], layout, &mut losses, grads)?;
        nt_xent_with_grad(&x, 0.5, guard, &[1.0; 4], layout, &mut losses, &mut a, &mut workspace)
    });
    assert_eq!(count, 0);
}
