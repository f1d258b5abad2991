//! Continuous traffic: who does what next.
//!
//! The director draws one action after the other and remembers just enough of the shop to aim well: the highest ids,
//! and a bounded list each of orders on their way, unpaid orders and cancelled ones. It may be wrong about any of them
//! (others write, too); the statements check for themselves and do nothing where an action no longer fits.

use std::collections::VecDeque;

use super::chance::Chance;
use super::population::{Person, address, payment_method, person};

/// Most orders the director remembers of a kind; the oldest are forgotten.
pub const REMEMBERED_MAX: usize = 20_000;

/// What one transaction shall do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Somebody signs up.
    NewCustomer {
        full_name: String,
        /// Part of the address before the id.
        mail_name: String,
        mail_host: &'static str,
        address: String,
        city: &'static str,
        country: &'static str,
    },
    /// A customer buys: order, items, payment and less stock, or nothing if nothing is in stock.
    NewOrder {
        /// The first customer from this id on.
        customer_from: i32,
        /// Different products.
        product_ids: Vec<i32>,
        /// As many as products.
        quantities: Vec<i32>,
        method: &'static str,
        /// Whether the payment comes with the order.
        paid_at_once: bool,
    },
    /// Pending goes to shipped (and is paid by then), shipped to delivered.
    AdvanceOrder { order: i32 },
    /// A pending order is called off and its payment fails. A shipped one cannot be called off: it is delivered.
    CancelOrder { order: i32 },
    /// A pending payment comes in.
    SettlePayment { order: i32 },
    /// The first customer from this id on moves house.
    MoveCustomer { customer_from: i32, address: String, city: &'static str, country: &'static str },
    /// A price changes to so many percent of what it was.
    ChangePrice { product: i32, percent: i32 },
    /// Goods come in.
    Restock { product: i32, quantity: i32 },
    /// A cancelled order goes, with its items and payments.
    DeleteOrder { order: i32 },
    /// The first customer from this id on without any order goes.
    DeleteCustomer { customer_from: i32 },
}

/// What an action turned out to do, as far as the director wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    CustomerMade {
        id: i32,
    },
    OrderMade {
        id: i32,
        paid: bool,
    },
    OrderShipped {
        id: i32,
    },
    OrderCancelled {
        id: i32,
    },
    /// Anything else, or nothing.
    Other,
}

/// What the director knows when the traffic starts.
#[derive(Debug, Clone, Default)]
pub struct Shop {
    /// Highest ids; 0 for an empty table.
    pub customer_max: i32,
    pub product_max: i32,
    /// Orders that are pending or shipped.
    pub open_orders: VecDeque<i32>,
    /// Orders whose payment is pending.
    pub unpaid_orders: VecDeque<i32>,
    pub cancelled_orders: VecDeque<i32>,
}

/// Draws the traffic's actions.
#[derive(Debug)]
pub struct Director {
    chance: Chance,
    shop: Shop,
}

/// The kinds of actions and how often each is drawn, in per mille.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    NewCustomer,
    NewOrder,
    AdvanceOrder,
    SettlePayment,
    MoveCustomer,
    ChangePrice,
    Restock,
    DeleteOrder,
    DeleteCustomer,
}

const MIX: [(u32, Kind); 9] = [
    (100, Kind::NewCustomer),
    (270, Kind::NewOrder),
    (320, Kind::AdvanceOrder),
    (110, Kind::SettlePayment),
    (50, Kind::MoveCustomer),
    (40, Kind::ChangePrice),
    (60, Kind::Restock),
    (30, Kind::DeleteOrder),
    (20, Kind::DeleteCustomer),
];

impl Director {
    /// `seed` fixes the draws; what they hit depends on the shop.
    #[must_use]
    pub fn new(seed: u64, shop: Shop) -> Self {
        // A stream that no customer or product of a full seed has.
        Self { chance: Chance::stream(seed, u64::MAX), shop }
    }

    /// Draws the next action. Where the shop has nothing for it, somebody signs up or buys instead.
    pub fn next_action(&mut self) -> Action {
        match self.chance.weighted(&MIX) {
            _ if self.shop.customer_max == 0 => self.new_customer(),
            Kind::NewCustomer => self.new_customer(),
            Kind::NewOrder => self.new_order(),
            Kind::AdvanceOrder => self.advance_order(),
            Kind::SettlePayment => match self.shop.unpaid_orders.pop_front() {
                Some(order) => Action::SettlePayment { order },
                None => self.new_order(),
            },
            Kind::MoveCustomer => {
                let Person { address: _, city, country, .. } = person(&mut self.chance);
                let address = address(&mut self.chance);
                Action::MoveCustomer { customer_from: self.any_customer(), address, city, country }
            }
            Kind::ChangePrice => {
                let percent = self.chance.between(90, 112) as i32;
                Action::ChangePrice { product: self.any_product(), percent }
            }
            Kind::Restock => {
                let quantity = self.chance.between(20, 200) as i32;
                Action::Restock { product: self.any_product(), quantity }
            }
            Kind::DeleteOrder => match self.shop.cancelled_orders.pop_front() {
                Some(order) => Action::DeleteOrder { order },
                None => self.new_order(),
            },
            Kind::DeleteCustomer => Action::DeleteCustomer { customer_from: self.any_customer() },
        }
    }

    /// Takes in what an action did.
    pub fn learn(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::CustomerMade { id } => self.shop.customer_max = self.shop.customer_max.max(id),
            Outcome::OrderMade { id, paid } => {
                remember(&mut self.shop.open_orders, id);
                if !paid {
                    remember(&mut self.shop.unpaid_orders, id);
                }
            }
            Outcome::OrderShipped { id } => remember(&mut self.shop.open_orders, id),
            Outcome::OrderCancelled { id } => remember(&mut self.shop.cancelled_orders, id),
            Outcome::Other => {}
        }
    }

    /// Takes an action back that did not reach the database, so that its order is not forgotten.
    pub fn give_back(&mut self, action: &Action) {
        match *action {
            Action::AdvanceOrder { order } | Action::CancelOrder { order } => {
                remember(&mut self.shop.open_orders, order)
            }
            Action::SettlePayment { order } => remember(&mut self.shop.unpaid_orders, order),
            Action::DeleteOrder { order } => remember(&mut self.shop.cancelled_orders, order),
            _ => {}
        }
    }

    fn new_customer(&mut self) -> Action {
        let person = person(&mut self.chance);
        Action::NewCustomer {
            full_name: person.full_name(),
            mail_name: person.mail_name(),
            mail_host: person.mail_host,
            address: person.address,
            city: person.city,
            country: person.country,
        }
    }

    fn new_order(&mut self) -> Action {
        let wanted = self.chance.between(1, 4).min(i64::from(self.shop.product_max)) as usize;
        let mut product_ids = Vec::with_capacity(wanted);
        while product_ids.len() < wanted {
            let product = self.any_product();
            if !product_ids.contains(&product) {
                product_ids.push(product);
            }
        }
        let quantities =
            product_ids.iter().map(|_| self.chance.weighted(&[(70, 1), (20, 2), (7, 3), (3, 4)])).collect();
        Action::NewOrder {
            customer_from: self.any_customer(),
            product_ids,
            quantities,
            method: payment_method(&mut self.chance),
            paid_at_once: self.chance.happens(0.45),
        }
    }

    fn advance_order(&mut self) -> Action {
        match self.shop.open_orders.pop_front() {
            Some(order) if self.chance.happens(0.08) => Action::CancelOrder { order },
            Some(order) => Action::AdvanceOrder { order },
            None => self.new_order(),
        }
    }

    fn any_customer(&mut self) -> i32 {
        self.chance.between(1, i64::from(self.shop.customer_max)) as i32
    }

    fn any_product(&mut self) -> i32 {
        self.chance.popular_index(self.shop.product_max as usize) as i32 + 1
    }
}

fn remember(orders: &mut VecDeque<i32>, order: i32) {
    if orders.len() >= REMEMBERED_MAX {
        orders.pop_front();
    }
    orders.push_back(order);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn shop() -> Shop {
        Shop {
            customer_max: 500,
            product_max: 50,
            open_orders: (1..=3000).collect(),
            unpaid_orders: (1..=1000).collect(),
            cancelled_orders: (3001..=3400).collect(),
        }
    }

    proptest! {
        #[test]
        fn the_same_seed_draws_the_same_actions(seed: u64) {
            let (mut left, mut right) = (Director::new(seed, shop()), Director::new(seed, shop()));
            for _ in 0..200 {
                prop_assert_eq!(left.next_action(), right.next_action());
            }
        }

        #[test]
        fn baskets_hold_different_products_that_may_exist(seed: u64, product_max in 1i32..60) {
            let mut director = Director::new(seed, Shop { product_max, ..shop() });
            for _ in 0..300 {
                if let Action::NewOrder { product_ids, quantities, .. } = director.next_action() {
                    prop_assert!(!product_ids.is_empty() && product_ids.len() == quantities.len());
                    prop_assert_eq!(product_ids.iter().collect::<HashSet<_>>().len(), product_ids.len());
                    prop_assert!(product_ids.iter().all(|id| (1..=product_max).contains(id)));
                    prop_assert!(quantities.iter().all(|quantity| *quantity > 0));
                }
            }
        }
    }

    #[test]
    fn all_kinds_of_actions_occur() {
        let mut director = Director::new(1, shop());
        let kinds: HashSet<_> = (0..2_000).map(|_| std::mem::discriminant(&director.next_action())).collect();
        assert_eq!(kinds.len(), 10);
    }

    #[test]
    fn an_empty_shop_gets_customers_first() {
        let mut director = Director::new(1, Shop::default());
        for _ in 0..50 {
            assert!(matches!(director.next_action(), Action::NewCustomer { .. }));
        }
    }

    #[test]
    fn memory_stays_bounded() {
        let mut director = Director::new(1, shop());
        for id in 0..50_000 {
            director.learn(Outcome::OrderMade { id, paid: false });
            director.learn(Outcome::OrderCancelled { id });
        }
        let shop = &director.shop;
        assert!(
            [&shop.open_orders, &shop.unpaid_orders, &shop.cancelled_orders]
                .iter()
                .all(|orders| orders.len() == REMEMBERED_MAX)
        );
    }
}
