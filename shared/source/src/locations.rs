//! Several locations in one setting.

use std::str::FromStr;

use crate::{InvalidLocation, Location, braces};

/// Locations separated by commas. A comma within braces or brackets, or after a backslash, belongs to a location.
#[derive(Clone, Debug)]
pub struct Locations(Vec<Location>);

impl Locations {
    /// The locations in order.
    #[must_use]
    pub fn all(&self) -> &[Location] {
        &self.0
    }
}

impl From<Location> for Locations {
    fn from(location: Location) -> Self {
        Self(vec![location])
    }
}

impl FromStr for Locations {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let locations = braces::split(text, ',').into_iter().map(str::parse);
        locations.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_locations_are_separated_by_commas() {
        let both: Locations = "products=a/*.{x,y},s3://shop/b".parse().unwrap();
        assert_eq!(both.all().len(), 2);
        assert!("a,".parse::<Locations>().is_err());
    }
}
