//! What a check found, as data and as text.

use alloc::{string::String, vec::Vec};
use core::fmt;

/// What a check concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Analytic and numeric derivatives agree within the estimated error, which is below the resolution asked for.
    Pass,
    /// They differ by more than the estimated error.
    Fail,
    /// The error bar is too wide for the resolution asked for.
    Inconclusive,
    /// The one-sided derivatives differ, and the gradient lies between them.
    Kink,
    /// The function or its gradient is NaN or infinite.
    NonFinite,
    /// Two runs on the same inputs gave different bits.
    NonDeterministic,
    /// Inputs were changed, or part of an output was never written or depends on what it held before.
    Impure,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "Pass",
            Self::Fail => "Fail",
            Self::Inconclusive => "Inconclusive",
            Self::Kink => "Kink",
            Self::NonFinite => "NonFinite",
            Self::NonDeterministic => "NonDeterministic",
            Self::Impure => "Impure",
        })
    }
}

/// The comparison that decided the verdict, or the one with the least room left.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Worst {
    /// Which input and which of its elements; `None` for a direction through many of them.
    pub input: Option<(usize, usize)>,
    /// The value of that element.
    pub at: Option<f64>,
    /// Which output; `None` for a weighted sum of them.
    pub output: Option<usize>,
    /// The derivative as the code under test gives it.
    pub analytic: f64,
    /// The derivative by differences (for the adjoint test: the other side of the identity).
    pub numeric: f64,
    /// The error bar of the comparison: truncation, rounding and the kernel's stated bound.
    pub error: f64,
    /// The derivatives from the left and from the right, where they differ.
    pub sides: Option<(f64, f64)>,
    /// The exponent p of the Taylor remainder ~ hᵖ: 2 when right, 1 when wrong.
    pub taylor_slope: Option<f64>,
    /// The steps tried, largest first.
    pub steps: Vec<f64>,
    /// What the pair of numbers looks like.
    pub meaning: String,
}

impl Worst {
    /// analytic / numeric.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.analytic / self.numeric
    }
}

/// What a check found. `Display` gives a message to act on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The conclusion.
    pub verdict: Verdict,
    /// Which check: "vjp", "jvp", "adjoint" or "second order".
    pub check: &'static str,
    /// How the derivative was measured: "f64", "f32 through its f64 twin" or "f32 alone", or the like.
    pub precision: &'static str,
    /// Every entry of the Jacobian was compared, not a sample.
    pub full: bool,
    /// Why the verdict is what it is, where one sentence says it.
    pub reason: String,
    /// The comparison that decided, or came closest to failing.
    pub worst: Option<Worst>,
    /// How many comparisons were made.
    pub comparisons: usize,
    /// How many of them had an error bar wider than the resolution: they exclude gross errors only.
    pub unresolved: usize,
    /// How many lay at a kink.
    pub kinks: usize,
    /// The relative error that a `Pass` excludes for the gradient as a whole.
    pub resolution: f64,
    /// How often the function was evaluated.
    pub evaluations: usize,
    /// The seed that replays the check.
    pub seed: u64,
}

impl Report {
    /// `Pass` or `Kink`: the gradient is right wherever there is one.
    #[must_use]
    pub fn is_right(&self) -> bool {
        matches!(self.verdict, Verdict::Pass | Verdict::Kink)
    }

    /// Panics with the report unless the gradient is right.
    ///
    /// # Panics
    /// On every verdict but `Pass` and `Kink`.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.is_right(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.full { "every entry" } else { "sampled" };
        writeln!(f, "{}: {} check in {}, {mode}", self.verdict, self.check, self.precision)?;
        if !self.reason.is_empty() {
            writeln!(f, "  {}", self.reason)?;
        }
        if let Some(worst) = &self.worst {
            write!(f, "  {} ", if self.is_right() { "closest call:" } else { "worst:" })?;
            match worst.output {
                Some(i) => write!(f, "d output[{i}]")?,
                None => f.write_str("d (weighted sum of outputs)")?,
            }
            match (worst.input, worst.at) {
                (Some((k, i)), Some(x)) => writeln!(f, " / d input {k}[{i}], at {x:e}")?,
                _ => f.write_str(" along a direction through many inputs\n")?,
            }
            writeln!(f, "  analytic {:>24.16e}", worst.analytic)?;
            writeln!(f, "  numeric  {:>24.16e} ± {:.1e}", worst.numeric, worst.error)?;
            if let Some((left, right)) = worst.sides {
                writeln!(f, "  from the left {left:.9e}, from the right {right:.9e}")?;
            }
            if !worst.meaning.is_empty() {
                writeln!(f, "  ratio    {:>24.16}: {}", worst.ratio(), worst.meaning)?;
            }
            if let Some(slope) = worst.taylor_slope {
                writeln!(f, "  Taylor remainder ~ h^{slope:.2} (2 when right, 1 when wrong)")?;
            }
            if let [first, .., last] = worst.steps.as_slice() {
                writeln!(f, "  {} steps from {first:e} down to {last:e}", worst.steps.len())?;
            }
        }
        write!(
            f,
            "  {} comparisons, {} unresolved, {} at a kink; excludes relative errors above {:.1e}; \
             {} evaluations; seed {:#x}",
            self.comparisons, self.unresolved, self.kinks, self.resolution, self.evaluations, self.seed
        )
    }
}
