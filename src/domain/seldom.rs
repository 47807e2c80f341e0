//! A value that most records leave empty, in eight bytes until it is not.
//!
//! A million members cost what their records cost, and few of them have overrides,
//! groups or periods. What is empty reads like any other value.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A type with an empty value that can be lent for ever.
pub trait Empty: Sized + 'static {
    /// The empty value.
    const EMPTY: &'static Self;
}

impl<K: 'static, V: 'static> Empty for BTreeMap<K, V> {
    const EMPTY: &'static Self = &BTreeMap::new();
}

/// A value that is seldom other than empty.
#[derive(Clone)]
pub struct Seldom<T>(Option<Box<T>>);

impl<T> Seldom<T> {
    /// How many bytes it takes besides its own eight and what the value owns.
    pub fn boxed_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |_| size_of::<T>())
    }
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Empty + PartialEq> From<T> for Seldom<T> {
    fn from(value: T) -> Self {
        Self((value != *T::EMPTY).then(|| Box::new(value)))
    }
}

impl<I, T: Empty + PartialEq + FromIterator<I>> FromIterator<I> for Seldom<T> {
    fn from_iter<A: IntoIterator<Item = I>>(items: A) -> Self {
        T::from_iter(items).into()
    }
}

impl<T: Empty> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

impl<T: Empty + Default> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Empty + PartialEq> PartialEq for Seldom<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Empty + Eq> Eq for Seldom<T> {}

impl<T: Empty + fmt::Debug> fmt::Debug for Seldom<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

impl<'a, T: Empty> IntoIterator for &'a Seldom<T>
where
    &'a T: IntoIterator,
{
    type Item = <&'a T as IntoIterator>::Item;
    type IntoIter = <&'a T as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        (**self).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_equal_and_takes_nothing_however_it_became_so() {
        let mut emptied: Seldom<BTreeMap<u8, u8>> = BTreeMap::from([(1, 2)]).into();
        assert_eq!(emptied.get(&1), Some(&2));
        assert!(emptied.boxed_bytes() > 0);
        emptied.remove(&1);
        let never: Seldom<BTreeMap<u8, u8>> = BTreeMap::new().into();
        assert_eq!(emptied, never);
        assert_eq!(never.boxed_bytes(), 0);
        assert_eq!(size_of_val(&never), 8);
    }
}
