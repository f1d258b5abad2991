//! The full seed: customers, products, orders, items and payments of a shop that has been open for a year.
//!
//! Every customer is drawn from a stream of its own, so rows depend on the seed, the number of customers and the day,
//! and not on how they are cut into batches.

use super::chance::Chance;
use super::rhythm::{DAY, SECOND, Window};
use super::rows::{Cents, Customer, Moment, Order, OrderItem, OrderStatus, Payment, PaymentStatus, Product};
use super::vocabulary::{
    CATEGORIES, CITIES, FIRST_NAMES, LAST_NAMES, MAIL_HOSTS, MATERIALS, PAYMENT_METHODS, STREETS, STYLES,
};

/// A shop sells at least so many products.
const PRODUCTS_MIN: usize = 20;
const CUSTOMERS_PER_PRODUCT: usize = 10;

/// Days in which the shop's shelves were filled.
const STOCKING_DAYS: i64 = 60;

/// How many orders a customer has made; two on average. The counts fit the two bits an order takes in `shape_of`.
const ORDERS_PER_CUSTOMER: [(u32, usize); 8] = [(20, 0), (25, 1), (22, 2), (15, 3), (9, 4), (5, 5), (3, 6), (1, 8)];

/// How many rows of each table there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub customers: usize,
    pub products: usize,
    pub orders: usize,
    pub order_items: usize,
    pub payments: usize,
}

impl Counts {
    /// Rows of all tables together.
    #[must_use]
    pub fn total(&self) -> usize {
        self.customers + self.products + self.orders + self.order_items + self.payments
    }
}

/// The id of the first row of each table; the others follow without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstIds {
    pub customers: i32,
    pub products: i32,
    pub orders: i32,
    pub order_items: i32,
    pub payments: i32,
}

impl Default for FirstIds {
    /// An empty database's.
    fn default() -> Self {
        Self { customers: 1, products: 1, orders: 1, order_items: 1, payments: 1 }
    }
}

/// Some customers and everything that is theirs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    pub customers: Vec<Customer>,
    pub orders: Vec<Order>,
    pub order_items: Vec<OrderItem>,
    pub payments: Vec<Payment>,
}

impl Batch {
    /// Rows of the batch by table; no products.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            customers: self.customers.len(),
            products: 0,
            orders: self.orders.len(),
            order_items: self.order_items.len(),
            payments: self.payments.len(),
        }
    }
}

/// What to generate. `day` is "today" in days since the Unix epoch; rows lie in the year before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Population {
    pub seed: u64,
    pub customers: usize,
    pub day: i64,
}

impl Population {
    /// How many rows there will be. Draws each customer's shape, so it takes a moment for millions.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            customers: self.customers,
            products: (self.customers / CUSTOMERS_PER_PRODUCT).max(PRODUCTS_MIN),
            ..Counts::default()
        };
        for index in 0..self.customers {
            let shape = shape_of(&mut self.customer_stream(index));
            counts.orders += shape.len();
            counts.order_items += shape.iter().sum::<usize>();
        }
        counts.payments = counts.orders;
        counts
    }

    /// All products, oldest first.
    #[must_use]
    pub fn products(&self, first_id: i32) -> Vec<Product> {
        let count = (self.customers / CUSTOMERS_PER_PRODUCT).max(PRODUCTS_MIN);
        (0..count).map(|index| self.product(index, count, first_id)).collect()
    }

    /// The customers and what is theirs, `batch_customers` at a time.
    #[must_use]
    pub fn batches<'a>(&self, first: FirstIds, products: &'a [Product], batch_customers: usize) -> Batches<'a> {
        Batches { population: *self, next: 0, ids: first, first_customer: first.customers, products, batch_customers }
    }

    fn customer_stream(&self, index: usize) -> Chance {
        Chance::stream(self.seed, 2 * index as u64)
    }

    fn window(&self) -> Window {
        Window::before_day(self.day)
    }

    fn product(&self, index: usize, count: usize, first_id: i32) -> Product {
        let chance = &mut Chance::stream(self.seed, 2 * index as u64 + 1);
        let category = chance.one_of(&CATEGORIES);
        let (style, material, good) =
            (chance.one_of(&STYLES), chance.one_of(&MATERIALS), chance.one_of(category.goods));
        let (cheapest, dearest) = category.price_cents;
        // Many cheap, few dear ones; prices end in 90 or 00 as in a shop.
        let draw = chance.fraction();
        let price = cheapest + ((dearest - cheapest) as f64 * draw * draw) as i64;
        let price = price / 100 * 100 + if chance.happens(0.7) { 90 } else { 0 };
        // In order of index, the first ones from the very start, so that there is always something to buy.
        let since = if index < PRODUCTS_MIN {
            0
        } else {
            let step = STOCKING_DAYS * DAY / count as i64;
            index as i64 * step + chance.between(0, step - 1)
        };
        Product {
            id: nth_id(first_id, index),
            name: format!("{style} {material} {good}"),
            category: category.name,
            price: Cents(price.max(cheapest)),
            stock_quantity: chance.between(50, 1000) as i32,
            created_at: Moment(self.window().start.0 + since),
        }
    }

    fn customer(&self, index: usize, first_id: i32, chance: &mut Chance) -> Customer {
        let id = nth_id(first_id, index);
        // In order of index, and more of them every month.
        let part = ((index as f64 + chance.fraction()) / self.customers as f64).powf(0.8);
        let person = person(chance);
        Customer {
            id,
            full_name: person.full_name(),
            email: format!("{}.{id}@{}", person.mail_name(), person.mail_host),
            address: person.address,
            city: person.city,
            country: person.country,
            created_at: self.window().around(part, chance),
        }
    }
}

/// Iterator over the batches of a population.
#[derive(Debug)]
pub struct Batches<'a> {
    population: Population,
    /// Index of the next customer.
    next: usize,
    /// Next ids to give.
    ids: FirstIds,
    first_customer: i32,
    products: &'a [Product],
    batch_customers: usize,
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let end = (self.next + self.batch_customers.max(1)).min(self.population.customers);
        if self.next == end {
            return None;
        }
        let mut batch = Batch::default();
        for index in self.next..end {
            let mut chance = self.population.customer_stream(index);
            let shape = shape_of(&mut chance);
            let customer = self.population.customer(index, self.first_customer, &mut chance);
            self.orders_of(&customer, &shape, &mut chance, &mut batch);
            batch.customers.push(customer);
        }
        self.next = end;
        Some(batch)
    }
}

impl Batches<'_> {
    fn orders_of(&mut self, customer: &Customer, shape: &[usize], chance: &mut Chance, batch: &mut Batch) {
        let window = self.population.window();
        let mut moments: Vec<Moment> = shape.iter().map(|_| window.order_after(customer.created_at, chance)).collect();
        moments.sort_unstable();
        for (moment, item_count) in moments.into_iter().zip(shape) {
            let order_id = take(&mut self.ids.orders);
            let first_item = batch.order_items.len();
            self.items_of(order_id, moment, *item_count, chance, batch);
            let total =
                batch.order_items[first_item..].iter().map(|item| item.price_at_purchase.times(item.quantity)).sum();
            let status = status_at_age(window.end.0 - moment.0, chance);
            let payment_status = match status {
                OrderStatus::Pending if chance.happens(0.5) => PaymentStatus::Pending,
                OrderStatus::Cancelled => PaymentStatus::Failed,
                OrderStatus::Pending | OrderStatus::Shipped | OrderStatus::Delivered => PaymentStatus::Paid,
            };
            let paid_after = chance.between(20 * SECOND, 1800 * SECOND);
            batch.payments.push(Payment {
                id: take(&mut self.ids.payments),
                order_id,
                payment_method: chance.weighted(&PAYMENT_METHODS),
                paid_at: (payment_status == PaymentStatus::Paid).then_some(Moment(moment.0 + paid_after)),
                amount: total,
                status: payment_status,
            });
            batch.orders.push(Order { id: order_id, customer_id: customer.id, status, total, created_at: moment });
        }
    }

    /// Different products that were on the shelf at that moment.
    fn items_of(&mut self, order_id: i32, moment: Moment, count: usize, chance: &mut Chance, batch: &mut Batch) {
        let on_shelf = self.products.partition_point(|product| product.created_at <= moment);
        let first = batch.order_items.len();
        for _ in 0..count {
            let mut index = chance.popular_index(on_shelf);
            // Step on to the next product that is not in the basket; a basket holds fewer than any shelf.
            while batch.order_items[first..].iter().any(|item| item.product_id == self.products[index].id) {
                index = (index + 1) % on_shelf;
            }
            let product = &self.products[index];
            batch.order_items.push(OrderItem {
                id: take(&mut self.ids.order_items),
                order_id,
                product_id: product.id,
                quantity: chance.weighted(&[(70, 1), (20, 2), (7, 3), (3, 4)]),
                price_at_purchase: product.price,
            });
        }
    }
}

/// Who somebody is, before they have an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) first_name: &'static str,
    pub(crate) last_name: &'static str,
    pub(crate) address: String,
    pub(crate) city: &'static str,
    pub(crate) country: &'static str,
    pub(crate) mail_host: &'static str,
}

impl Person {
    pub(crate) fn full_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }

    /// `anna.mueller`: the name as a mailbox can have it.
    pub(crate) fn mail_name(&self) -> String {
        let mut name = String::with_capacity(24);
        for character in self.first_name.chars().chain(['.']).chain(self.last_name.chars()) {
            match character {
                'ä' => name.push_str("ae"),
                'ö' | 'ø' => name.push_str("oe"),
                'ü' => name.push_str("ue"),
                'á' | 'à' => name.push('a'),
                'é' | 'è' | 'ë' => name.push('e'),
                'í' | 'ı' => name.push('i'),
                'ś' => name.push('s'),
                ' ' | '\'' => {}
                other => name.push(other.to_ascii_lowercase()),
            }
        }
        name
    }
}

/// Draws somebody.
pub(crate) fn person(chance: &mut Chance) -> Person {
    let (city, country) = chance.weighted(&CITIES);
    Person {
        first_name: chance.one_of(&FIRST_NAMES),
        last_name: chance.one_of(&LAST_NAMES),
        address: address(chance),
        city,
        country,
        mail_host: chance.one_of(&MAIL_HOSTS),
    }
}

/// Draws a street and a number.
pub(crate) fn address(chance: &mut Chance) -> String {
    format!("{} {}", chance.one_of(&STREETS), chance.between(1, 140))
}

/// Draws how somebody pays.
pub(crate) fn payment_method(chance: &mut Chance) -> &'static str {
    chance.weighted(&PAYMENT_METHODS)
}

/// The numbers of items of each of a customer's orders: always the first draw of its stream, and only one.
fn shape_of(chance: &mut Chance) -> Vec<usize> {
    let bits = chance.bits();
    let total: u32 = ORDERS_PER_CUSTOMER.iter().map(|(weight, _)| weight).sum();
    let mut draw = (bits >> 32) as u32 % total;
    let mut orders = 0;
    for (weight, count) in ORDERS_PER_CUSTOMER {
        if draw < weight {
            orders = count;
            break;
        }
        draw -= weight;
    }
    (0..orders).map(|order| (bits >> (2 * order) & 0b11) as usize + 1).collect()
}

/// How far an order has come after so many microseconds.
fn status_at_age(age: i64, chance: &mut Chance) -> OrderStatus {
    use OrderStatus::{Cancelled, Delivered, Pending, Shipped};
    let weights: &[(u32, OrderStatus)] = match age / DAY {
        0 => &[(70, Pending), (20, Shipped), (10, Cancelled)],
        1..4 => &[(15, Pending), (60, Shipped), (17, Delivered), (8, Cancelled)],
        4..14 => &[(20, Shipped), (72, Delivered), (8, Cancelled)],
        _ => &[(93, Delivered), (7, Cancelled)],
    };
    chance.weighted(weights)
}

/// Ids of a population are reserved as a block that fits the column, so this does not overflow.
fn nth_id(first: i32, index: usize) -> i32 {
    first.saturating_add(i32::try_from(index).unwrap_or(i32::MAX))
}

fn take(next: &mut i32) -> i32 {
    let id = *next;
    *next = next.saturating_add(1);
    id
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    const DAY_NUMBER: i64 = 20_500;

    fn whole(population: Population, first: FirstIds, batch_customers: usize) -> (Vec<Product>, Batch) {
        let products = population.products(first.products);
        let mut all = Batch::default();
        for batch in population.batches(first, &products, batch_customers) {
            all.customers.extend(batch.customers);
            all.orders.extend(batch.orders);
            all.order_items.extend(batch.order_items);
            all.payments.extend(batch.payments);
        }
        (products, all)
    }

    fn population(seed: u64, customers: usize) -> Population {
        Population { seed, customers, day: DAY_NUMBER }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_same_seed_gives_the_same_rows_in_whatever_batches(seed: u64, customers in 1usize..300, batch in 1usize..400) {
            let first = FirstIds::default();
            prop_assert_eq!(whole(population(seed, customers), first, batch), whole(population(seed, customers), first, 77));
        }

        #[test]
        fn references_sums_and_states_fit(seed: u64, customers in 1usize..400, first in 1i32..1_000_000) {
            let first = FirstIds { customers: first, products: first + 1, orders: first + 2, order_items: first + 3, payments: first + 4 };
            let population = population(seed, customers);
            let (products, all) = whole(population, first, 50);
            let counts = Counts { products: products.len(), ..all.counts() };
            prop_assert_eq!(counts, population.counts());
            prop_assert_eq!(counts.payments, counts.orders);

            let window = population.window();
            let products: HashMap<i32, &Product> = products.iter().map(|product| (product.id, product)).collect();
            let customers: HashMap<i32, &Customer> = all.customers.iter().map(|customer| (customer.id, customer)).collect();
            let payments: HashMap<i32, &Payment> = all.payments.iter().map(|payment| (payment.order_id, payment)).collect();
            prop_assert_eq!(payments.len(), all.orders.len());
            let mut items: HashMap<i32, Vec<&OrderItem>> = HashMap::new();
            for item in &all.order_items {
                items.entry(item.order_id).or_default().push(item);
            }
            prop_assert_eq!(items.len(), all.orders.len());
            for order in &all.orders {
                let items = &items[&order.id];
                prop_assert!((1..=4).contains(&items.len()));
                prop_assert_eq!(items.iter().map(|item| item.product_id).collect::<HashSet<_>>().len(), items.len());
                prop_assert_eq!(order.total, items.iter().map(|item| item.price_at_purchase.times(item.quantity)).sum());
                prop_assert!(order.created_at >= customers[&order.customer_id].created_at);
                prop_assert!(order.created_at < window.end);
                for item in items {
                    prop_assert_eq!(item.price_at_purchase, products[&item.product_id].price);
                    prop_assert!(products[&item.product_id].created_at <= order.created_at);
                }
                let payment = payments[&order.id];
                prop_assert_eq!(payment.amount, order.total);
                prop_assert!(payment.status.fits(order.status));
                prop_assert_eq!(payment.paid_at.is_some(), payment.status == PaymentStatus::Paid);
            }
            for customer in &all.customers {
                prop_assert!(window.start <= customer.created_at && customer.created_at < window.end);
            }
        }

        #[test]
        fn emails_are_unique_and_plain(seed: u64, first in 1i32..2_000_000_000) {
            let (_, all) = whole(population(seed, 300), FirstIds { customers: first, ..FirstIds::default() }, 100);
            let emails: HashSet<&str> = all.customers.iter().map(|customer| customer.email.as_str()).collect();
            prop_assert_eq!(emails.len(), 300);
            for email in emails {
                prop_assert!(email.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".@".contains(&byte)), "{}", email);
            }
        }
    }

    #[test]
    fn ids_follow_each_other_without_gaps() {
        let (_, all) = whole(population(3, 200), FirstIds { orders: 500, ..FirstIds::default() }, 30);
        assert!(all.orders.iter().map(|order| order.id).eq(500..500 + all.orders.len() as i32));
        assert!(all.order_items.iter().map(|item| item.id).eq(1..=all.order_items.len() as i32));
    }

    #[test]
    fn a_shop_is_of_the_size_asked_for() {
        let counts = population(42, 10_000).counts();
        assert_eq!((counts.customers, counts.products), (10_000, 1_000));
        assert!((19_000..21_000).contains(&counts.orders), "{counts:?}");
        assert!((47_000..53_000).contains(&counts.order_items), "{counts:?}");
        assert_eq!(population(42, 1).counts().products, 20);
    }

    #[test]
    fn all_states_occur() {
        let (_, all) = whole(population(42, 2_000), FirstIds::default(), 1_000);
        for status in ["pending", "shipped", "delivered", "cancelled"] {
            assert!(all.orders.iter().any(|order| order.status.as_str() == status), "{status}");
        }
        for status in ["paid", "pending", "failed"] {
            assert!(all.payments.iter().any(|payment| payment.status.as_str() == status), "{status}");
        }
    }
}
