#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod diagnose;
mod dispatch;
mod element;
mod error;
pub mod gradcheck;
mod kernels;
mod layout;
mod losses;
mod math;
#[cfg(feature = "rayon")]
pub mod parallel;
pub mod reference;
mod rows;
mod simd;
#[cfg(feature = "proptest")]
pub mod strategies;
mod tile;
pub mod typed;

pub use dispatch::{Backend, Kernels};
pub use element::Element;
pub use error::Error;
pub use kernels::OPERATIONS;
pub use kernels::l2::{
    NormGuard, l2_norm, l2_norm_jvp, l2_norm_vjp, l2_normalize, l2_normalize_in_place, l2_normalize_jvp,
    l2_normalize_vjp,
};
pub use kernels::sigmoid::{
    Range, scaled_sigmoid, scaled_sigmoid_in_place, scaled_sigmoid_inverse, scaled_sigmoid_inverse_in_place,
    scaled_sigmoid_inverse_jvp, scaled_sigmoid_inverse_vjp, scaled_sigmoid_jvp, scaled_sigmoid_vjp,
};
pub use kernels::softmax::{
    EmptyRows, SoftmaxOptions, log_softmax, log_softmax_in_place, log_softmax_in_place_with, log_softmax_jvp,
    log_softmax_jvp_with, log_softmax_vjp, log_softmax_vjp_with, log_softmax_with, logsumexp, logsumexp_jvp,
    logsumexp_jvp_with, logsumexp_vjp, logsumexp_vjp_with, logsumexp_with, softmax, softmax_in_place,
    softmax_in_place_with, softmax_jvp, softmax_jvp_with, softmax_vjp, softmax_vjp_with, softmax_with,
};
pub use layout::Layout;
pub use losses::binary::{binary_cross_entropy_with_logits, binary_cross_entropy_with_logits_with_grad};
pub use losses::contrastive::{
    contrastive_workspace, info_nce, info_nce_with_grad, nt_xent, nt_xent_with_grad,
};
pub use losses::cross_entropy::{
    ClassOptions, CrossEntropyOptions, Target, cross_entropy, cross_entropy_with_grad,
    cross_entropy_with_grad_in_place, focal_loss, focal_loss_with_grad, kl_div, kl_div_with_grad, nll,
    nll_with_grad,
};
pub use losses::metric::{
    cosine_embedding, cosine_embedding_with_grad, triplet_margin, triplet_margin_with_grad,
};
pub use losses::ranged::{
    scaled_sigmoid_huber, scaled_sigmoid_huber_with_grad, scaled_sigmoid_l1, scaled_sigmoid_l1_with_grad,
    scaled_sigmoid_mse, scaled_sigmoid_mse_with_grad,
};
pub use losses::reduce::Reduction;
#[cfg(feature = "rayon")]
#[doc(no_inline)]
pub use parallel::*;
