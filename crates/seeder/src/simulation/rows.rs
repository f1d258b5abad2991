//! The rows of the storefront's tables, as `migrations/V1` has them.

use std::fmt;

/// An amount of money in cents: `numeric(10,2)` without the rounding of floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cents(pub i64);

impl Cents {
    /// Price times quantity.
    #[must_use]
    pub fn times(self, quantity: i32) -> Self {
        Self(self.0 * i64::from(quantity))
    }
}

impl std::iter::Sum for Cents {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.map(|amount| amount.0).sum())
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// A moment of the shop's clock: microseconds since the Unix epoch, UTC, as a `timestamp` column holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

/// `customers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    pub id: i32,
    pub full_name: String,
    /// Holds the id, so it stays unique over all customers there ever are.
    pub email: String,
    pub address: String,
    pub city: &'static str,
    pub country: &'static str,
    pub created_at: Moment,
}

/// `products`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    pub id: i32,
    pub name: String,
    pub category: &'static str,
    pub price: Cents,
    pub stock_quantity: i32,
    pub created_at: Moment,
}

/// `orders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub id: i32,
    pub customer_id: i32,
    pub status: OrderStatus,
    pub total: Cents,
    pub created_at: Moment,
}

/// `order_items`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderItem {
    pub id: i32,
    pub order_id: i32,
    pub product_id: i32,
    pub quantity: i32,
    pub price_at_purchase: Cents,
}

/// `payments`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub id: i32,
    pub order_id: i32,
    pub payment_method: &'static str,
    /// When the money came; none unless paid.
    pub paid_at: Option<Moment>,
    pub amount: Cents,
    pub status: PaymentStatus,
}

/// `orders.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStatus {
    Pending,
    Shipped,
    Delivered,
    Cancelled,
}

impl OrderStatus {
    /// As in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
        }
    }
}

/// `payments.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentStatus {
    Paid,
    Pending,
    Failed,
}

impl PaymentStatus {
    /// As in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Pending => "pending",
            Self::Failed => "failed",
        }
    }

    /// Whether an order may stand so while its payment stands so: goods leave the shop only when they are paid.
    #[must_use]
    pub fn fits(self, order: OrderStatus) -> bool {
        match order {
            OrderStatus::Pending => matches!(self, Self::Pending | Self::Paid),
            OrderStatus::Shipped | OrderStatus::Delivered => self == Self::Paid,
            OrderStatus::Cancelled => self == Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cents_are_written_with_two_digits() {
        assert_eq!(Cents(5).to_string(), "0.05");
        assert_eq!(Cents(12340).to_string(), "123.40");
        assert_eq!([Cents(199).times(3), Cents(1)].into_iter().sum::<Cents>(), Cents(598));
    }
}
