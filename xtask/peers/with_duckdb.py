"""DuckDB: reads the lines, keeps the last of each id, copies them into a staging table of PostgreSQL, then one upsert.

with_duckdb.py URL DIRECTORY [CONDITION]
"""

import glob
import os
import sys

import duckdb
import duckdb_extension_postgres_scanner

url, directory, *condition = sys.argv[1:]
files = sorted((os.path.join(directory, name) for name in os.listdir(directory)), key=os.path.getmtime)
COLUMNS = "id, title, price, category, brand, url, description"
TYPES = "id bigint, title text, price numeric, category text, brand text, url text, description text"
JSON = {
    "id": "BIGINT", "title": "VARCHAR", "price": "VARCHAR", "category": "VARCHAR",
    "brand": "VARCHAR", "url": "VARCHAR", "description": "VARCHAR",
}

db = duckdb.connect()
extension = os.path.join(os.path.dirname(duckdb_extension_postgres_scanner.__file__), "extensions/*/*.duckdb_extension")
db.execute(f"LOAD '{glob.glob(extension)[0]}'")
db.execute(f"ATTACH '{url}' AS pg (TYPE postgres)")
run = lambda sql: db.execute("CALL postgres_execute('pg', ?)", [sql])
run(f"CREATE TABLE IF NOT EXISTS products ({TYPES}, PRIMARY KEY (id))")
run(f"CREATE UNLOGGED TABLE staging ({TYPES.replace('price numeric', 'price text')})")
# In the order of the files and of their lines.
db.execute("CREATE TEMPORARY TABLE lines (file INTEGER, number BIGINT, " + ", ".join(f"{n} {t}" for n, t in JSON.items()) + ")")
for number, file in enumerate(files):
    db.execute(
        f"INSERT INTO lines SELECT {number}, row_number() OVER (), {COLUMNS} "
        f"FROM read_json('{file}', format = 'newline_delimited', columns = {JSON})"
    )
db.execute(
    f"INSERT INTO pg.staging SELECT {COLUMNS} FROM lines "
    "QUALIFY row_number() OVER (PARTITION BY id ORDER BY file DESC, number DESC) = 1"
)
updates = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", ")[1:])
run(
    f"INSERT INTO products AS p SELECT {COLUMNS.replace('price', 'price::numeric')} FROM staging "
    f"ON CONFLICT (id) DO UPDATE SET {updates} {' '.join(condition)}"
)
run("DROP TABLE staging")
