#!/bin/sh
# By hand: COPY of the lines into a staging table, then one upsert. The last line of an id wins, in the file that was modified last.
# by_hand.sh URL DIRECTORY [CONDITION]
set -e
copy() {
    ls -tr "$1" | while read -r file; do
        # A delimiter and a quote that no line contains.
        printf '%s\n' "\\copy lines (record) FROM '$1/$file' WITH (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')"
    done
}
psql "$1" --quiet --no-psqlrc --set ON_ERROR_STOP=1 <<SQL
BEGIN;
SET LOCAL work_mem = '256MB';
CREATE TABLE IF NOT EXISTS products
    (id bigint PRIMARY KEY, title text, price numeric, category text, brand text, url text, description text);
CREATE TEMPORARY TABLE lines (number bigint GENERATED ALWAYS AS IDENTITY, record json) ON COMMIT DROP;
$(copy "$2")
INSERT INTO products AS p
SELECT DISTINCT ON (r.id) r.* FROM lines, json_populate_record(NULL::products, record) r ORDER BY r.id, number DESC
ON CONFLICT (id) DO UPDATE SET title = excluded.title, price = excluded.price, category = excluded.category,
    brand = excluded.brand, url = excluded.url, description = excluded.description $3;
COMMIT;
SQL
