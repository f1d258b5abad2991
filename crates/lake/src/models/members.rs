//! Pure: the values of a column that another column may have.
//!
//! Whole numbers that lie close together, as keys do, are a bit each: a look at one is then a look at memory that stays in the
//! processor's caches. Others are digests.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray},
    compute::cast,
    datatypes::{DataType, Field, Int64Type, Schema},
    record_batch::RecordBatch,
};

use super::checks::Hasher;
use crate::{digests::Digests, error::Result};

/// Numbers are a bit each while there are at most so many bits for each of them.
const BITS_PER_NUMBER_MAX: u64 = 256;
const NAME: &str = "value";

/// A set of values of one type.
pub struct Members {
    values: Values,
    hasher: Hasher,
    schema: Arc<Schema>,
}

enum Values {
    Numbers { least: i64, bits: Vec<u64> },
    Digests(Digests),
}

impl Members {
    /// Of these values, which have this type; nulls are none.
    ///
    /// # Errors
    /// When values of the type cannot be compared.
    pub fn of(kind: &DataType, arrays: &[ArrayRef]) -> Result<Self> {
        let schema = Arc::new(Schema::new(vec![Field::new(NAME, kind.clone(), true)]));
        let hasher = Hasher::of(&[NAME.to_owned()], &schema)?;
        let mut members = Self { values: Values::Digests(Digests::default()), hasher, schema };
        members.values = match kind {
            DataType::Int32 | DataType::Int64 => numbers(arrays)?,
            _ => None,
        }
        .map_or_else(|| members.digests(arrays), Ok)?;
        Ok(members)
    }

    fn digests(&self, arrays: &[ArrayRef]) -> Result<Values> {
        let mut digests = Digests::default();
        for array in arrays {
            digests.extend(self.hashes(array)?.into_iter().flatten());
        }
        Ok(Values::Digests(digests))
    }

    fn hashes(&self, array: &ArrayRef) -> Result<Vec<Option<u128>>> {
        self.hasher.hash(&RecordBatch::try_new(self.schema.clone(), vec![array.clone()])?)
    }

    /// The rows of a column of the type whose value is none of these; not those without a value.
    ///
    /// # Errors
    /// When the column is of another type.
    pub fn strangers(&self, column: &ArrayRef) -> Result<Vec<usize>> {
        let among = self.among(column)?;
        Ok((0..column.len()).filter(|&row| !among.value(row) && column.is_valid(row)).collect())
    }

    /// For each row of a column of the type whether its value is one of these; no value is none.
    ///
    /// # Errors
    /// When the column is of another type.
    pub fn among(&self, column: &ArrayRef) -> Result<BooleanArray> {
        Ok(match &self.values {
            Values::Numbers { least, bits } => {
                let numbers = cast(column, &DataType::Int64)?;
                let numbers = numbers.as_primitive::<Int64Type>();
                let known = |number: i64| {
                    let bit = number.wrapping_sub(*least).cast_unsigned();
                    number >= *least && bits.get((bit / 64) as usize).is_some_and(|word| word >> (bit % 64) & 1 == 1)
                };
                numbers.iter().map(|number| Some(number.is_some_and(known))).collect()
            }
            Values::Digests(known) => {
                let known = |hash: Option<u128>| Some(hash.is_some_and(|hash| known.contains(&hash)));
                self.hashes(column)?.into_iter().map(known).collect()
            }
        })
    }
}

/// Whole numbers as bits; `None` when they lie too far apart.
fn numbers(arrays: &[ArrayRef]) -> Result<Option<Values>> {
    let mut all: Vec<i64> = Vec::new();
    for array in arrays {
        all.extend(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().iter().flatten());
    }
    let (Some(&least), Some(&most)) = (all.iter().min(), all.iter().max()) else {
        return Ok(Some(Values::Numbers { least: 0, bits: Vec::new() }));
    };
    let span = most.abs_diff(least);
    if span / BITS_PER_NUMBER_MAX > all.len() as u64 {
        return Ok(None);
    }
    let mut bits = vec![0_u64; (span / 64 + 1) as usize];
    for number in all {
        let bit = number.abs_diff(least);
        bits[(bit / 64) as usize] |= 1 << (bit % 64);
    }
    Ok(Some(Values::Numbers { least, bits }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{Int32Array, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_nulls() {
        let words: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b")]));
        let members = Members::of(&DataType::Utf8, &[words]).unwrap();
        let column: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("c"), Some("a")]));
        assert_eq!(members.strangers(&column).unwrap(), [2]);
        let none = Members::of(&DataType::Int32, &[]).unwrap();
        let column: ArrayRef = Arc::new(Int32Array::from(vec![Some(0), None]));
        assert_eq!(none.strangers(&column).unwrap(), [0], "nothing is a member of nothing");
    }

    proptest! {
        #[test]
        fn numbers_are_found_however_far_they_lie_apart(
            known in prop::collection::vec(prop_oneof![-300_i64..300, any::<i64>()], 0..50), close in any::<bool>(),
            asked in prop::collection::vec(prop_oneof![-300_i64..300, any::<i64>()], 0..50),
        ) {
            let known: Vec<i64> = known.into_iter().map(|number| if close { number % 1000 } else { number }).collect();
            let arrays: [ArrayRef; 1] = [Arc::new(Int64Array::from(known.clone()))];
            let members = Members::of(&DataType::Int64, &arrays).unwrap();
            let wanted: Vec<usize> = (0..asked.len()).filter(|&row| !known.contains(&asked[row])).collect();
            let asked: ArrayRef = Arc::new(Int64Array::from(asked));
            prop_assert_eq!(members.strangers(&asked).unwrap(), wanted);
        }
    }
}
