"""The shop's tables as raw.rs writes them, for the engines beside the lake: columns and what Debezium's Avro makes of them."""

TOPIC = "storefront.public.{}"
# Kinds: `int`, `text`, `amount` (numeric(10,2), in Avro bytes with a logical type), `micros` (a timestamp, in Avro a plain
# long of microseconds).
TABLES = {
    "customers": {"id": "int", "full_name": "text", "email": "text", "address": "text", "city": "text", "country": "text",
                  "created_at": "micros"},
    "products": {"id": "int", "name": "text", "category": "text", "price": "amount", "stock_quantity": "int",
                 "created_at": "micros"},
    "orders": {"id": "int", "customer_id": "int", "status": "text", "total": "amount", "created_at": "micros"},
    "order_items": {"id": "int", "order_id": "int", "product_id": "int", "quantity": "int", "price_at_purchase": "amount"},
    "payments": {"id": "int", "order_id": "int", "payment_method": "text", "paid_at": "micros", "amount": "amount",
                 "status": "text"},
}
