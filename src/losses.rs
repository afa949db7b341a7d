//! Losses, fused, from the raw output of a network: values and gradients of rows, and how they reduce.
//!
//! A new loss is a file here, its `Operations` in [`LossElement`] and its re-exports.

pub(crate) mod binary;
pub(crate) mod contrastive;
pub(crate) mod cross_entropy;
pub(crate) mod metric;
pub(crate) mod ranged;
pub(crate) mod reduce;
mod row;
mod unit;
mod wide;

/// What the losses need of an element type.
pub trait LossElement:
    wide::WideElement
    + binary::Operations<Self>
    + contrastive::Operations<Self>
    + cross_entropy::Operations<Self>
    + metric::Operations<Self>
    + ranged::Operations<Self>
{
}

impl LossElement for f32 {}
impl LossElement for f64 {}
