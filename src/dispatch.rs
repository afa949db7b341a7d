//! Which backend runs: detected once, forced per call, never changed for the process.

use crate::Error;
use crate::simd::{Op, Scalar, Simd};

/// An instruction set that the kernels are compiled for. All give the same bits.
///
/// ```
/// use lossprep::{Backend, Layout};
/// let kernels = Backend::Portable.try_get()?;
/// let mut p = [0.0_f32; 3];
/// kernels.softmax(&[1.0, 2.0, 3.0], Layout::rows(1, 3)?, &mut p)?;
/// # Ok::<(), lossprep::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// x86 with AVX-512 (F, BW, CD, DQ, VL), through pulp; needs the default feature `avx512`.
    Avx512,
    /// x86 with AVX2 and FMA, through pulp; needs the default feature `avx2`.
    Avx2,
    /// 64-bit ARM with NEON, through pulp.
    Neon,
    /// Every machine, through `wide`.
    Portable,
    /// Every machine, one element at a time: the definition of the others.
    Scalar,
}

impl Backend {
    /// Every backend, fastest first.
    pub const fn all() -> [Self; 5] {
        [Self::Avx512, Self::Avx2, Self::Neon, Self::Portable, Self::Scalar]
    }

    /// The backends that this machine can run and the build has, fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::all().into_iter().filter(|b| b.is_available())
    }

    /// Whether this machine can run it and the build has it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(all(feature = "avx512", any(target_arch = "x86", target_arch = "x86_64")))]
            Self::Avx512 => crate::simd::x86::Avx512::try_new().is_some(),
            #[cfg(all(feature = "avx2", any(target_arch = "x86", target_arch = "x86_64")))]
            Self::Avx2 => crate::simd::x86::Avx2::try_new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => crate::simd::neon::Neon::try_new().is_some(),
            Self::Portable | Self::Scalar => true,
            #[allow(unreachable_patterns, reason = "the backends of other architectures, or left out")]
            _ => false,
        }
    }

    /// The name that `LOSSPREP_BACKEND` knows it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
            Self::Scalar => "scalar",
        }
    }

    /// The backend of that name, in capital or small letters.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|b| b.name().eq_ignore_ascii_case(name))
    }

    /// The operations on this backend.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the machine lacks its instructions, or the build its kernels.
    pub fn try_get(self) -> Result<Kernels, Error> {
        if self.is_available() {
            Ok(Kernels { backend: self })
        } else {
            Err(Error::Unavailable { backend: self.name() })
        }
    }

    /// The backend that the functions at the crate root use: the one that the environment variable
    /// `LOSSPREP_BACKEND` names (read once; needs the feature `std`), else the fastest available. An empty value counts
    /// as none.
    ///
    /// # Errors
    /// [`Error::UnknownBackend`] or [`Error::Unavailable`] if the variable names no backend, or one
    /// that cannot run here.
    pub fn best() -> Result<Self, Error> {
        Kernels::best().map(Kernels::backend)
    }
}

impl core::fmt::Display for Backend {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

/// All operations, on one backend: what [`Backend::try_get`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    backend: Backend,
}

impl Kernels {
    /// The backend these operations run on.
    pub const fn backend(self) -> Backend {
        self.backend
    }

    /// What the functions at the crate root run on.
    #[inline]
    pub(crate) fn best() -> Result<Self, Error> {
        #[cfg(feature = "std")]
        {
            static BEST: std::sync::OnceLock<Result<Kernels, Error>> = std::sync::OnceLock::new();
            *BEST.get_or_init(|| match std::env::var_os("LOSSPREP_BACKEND") {
                Some(name) if !name.is_empty() => {
                    let name = name.to_string_lossy();
                    match Backend::from_name(&name) {
                        Some(backend) => backend.try_get(),
                        // Once a process.
                        None => Err(Error::UnknownBackend {
                            name: alloc::string::String::leak(name.into_owned()),
                        }),
                    }
                }
                _ => Ok(Self::detect()),
            })
        }
        #[cfg(not(feature = "std"))]
        Ok(Self::detect())
    }

    fn detect() -> Self {
        Self { backend: Backend::available().next().unwrap_or(Backend::Scalar) }
    }

    /// Runs `op` on the backend; called through `Op::on`.
    #[inline(always)]
    pub(crate) fn run<O: Op>(self, op: O) -> O::Output {
        // Unit tests are of what lies below the kernels: those need no more than one backend, which saves minutes.
        #[cfg(not(test))]
        match self.backend {
            #[cfg(all(feature = "avx512", any(target_arch = "x86", target_arch = "x86_64")))]
            Backend::Avx512 => {
                if let Some(s) = crate::simd::x86::Avx512::try_new() {
                    return Simd::vectorize(s, op);
                }
            }
            #[cfg(all(feature = "avx2", any(target_arch = "x86", target_arch = "x86_64")))]
            Backend::Avx2 => {
                if let Some(s) = crate::simd::x86::Avx2::try_new() {
                    return Simd::vectorize(s, op);
                }
            }
            #[cfg(target_arch = "aarch64")]
            Backend::Neon => {
                if let Some(s) = crate::simd::neon::Neon::try_new() {
                    return Simd::vectorize(s, op);
                }
            }
            Backend::Portable => return crate::simd::Portable.vectorize(op),
            _ => {}
        }
        // A token was had when the value was made, so only Scalar itself comes here.
        Scalar.vectorize(op)
    }
}

/// Declares operations once: a method of [`Kernels`], and the function at the crate root, with the
/// documentation, that runs it on the backend in use.
///
/// The bodies are generic, but compiled here, once for f32 and once for f64, and reached through the
/// trait `Operations`: otherwise every crate that calls an operation would compile all of its backends.
macro_rules! operations {
    ($($(#[$doc:meta])* pub fn $name:ident<T>($self:ident $(, $arg:ident: $ty:ty)* $(,)?) $body:block)*) => {
        trait Generic: Copy {
            $(fn $name<T: $crate::Element>($self $(, $arg: $ty)*) -> Result<(), $crate::Error>;)*
        }

        impl Generic for $crate::Kernels {
            $(fn $name<T: $crate::Element>($self $(, $arg: $ty)*) -> Result<(), $crate::Error> $body)*
        }

        /// The operations on `T`, compiled.
        pub trait Operations<T> {
            $(fn $name(kernels: $crate::Kernels $(, $arg: $ty)*) -> Result<(), $crate::Error>;)*
        }

        const _: () = {
            type T = f32;
            impl Operations<T> for f32 {
                $(
                    fn $name(kernels: $crate::Kernels $(, $arg: $ty)*) -> Result<(), $crate::Error> {
                        Generic::$name::<T>(kernels $(, $arg)*)
                    }
                )*
            }
        };

        const _: () = {
            type T = f64;
            impl Operations<T> for f64 {
                $(
                    fn $name(kernels: $crate::Kernels $(, $arg: $ty)*) -> Result<(), $crate::Error> {
                        Generic::$name::<T>(kernels $(, $arg)*)
                    }
                )*
            }
        };

        impl $crate::Kernels {
            $(
                #[doc = concat!("[`", stringify!($name), "`](crate::", stringify!($name), ") on this backend.")]
                ///
                /// # Errors
                /// Those of the function at the crate root.
                pub fn $name<T: $crate::Element>(self $(, $arg: $ty)*) -> Result<(), $crate::Error> {
                    <T as Operations<T>>::$name(self $(, $arg)*)
                }
            )*
        }
        $(
            $(#[$doc])*
            pub fn $name<T: $crate::Element>($($arg: $ty),*) -> Result<(), $crate::Error> {
                $crate::Kernels::best()?.$name($($arg),*)
            }
        )*
    };
}
pub(crate) use operations;
