# Says what must be in the database once the files are loaded in this order: awk -v rows=ROWS -v rejects=REJECTS -f
# expect.awk FILE…
#
# It knows the lines of lines.awk and nothing of Jetline: the last acceptable line of an id is its row, every other line
# that is not acceptable is a reject. ROWS gets `id|title|price|description`, REJECTS `file|line|offset|raw`, and the
# output has one line a file: `lines rejected new-ids`.

function end_file() {
    if (file != "") print lines, rejected, fresh
    lines = rejected = fresh = offset = 0
    file = FILENAME
    sub(/.*\//, "", file)
}

BEGIN { row = "^\\{\"id\":[0-9]+,\"title\":\"[^\"]+\",\"price\":[0-9.]+,.*\"\\}$" }

FNR == 1 { end_file() }

{ lines++ }

$0 ~ row {
    split($0, part, "\"")
    id = part[3]
    gsub(/[:,]/, "", id)
    price = part[9]
    if (part[8] == "price") gsub(/[:,]/, "", price)
    else exit 1
    if (!(id in table)) fresh++
    table[id] = part[6] "|" price "|" part[24]
}

$0 !~ row {
    rejected++
    print file "|" FNR "|" offset "|" $0 >rejects
}

{ offset += length($0) + 1 }

END {
    end_file()
    for (id in table) print id "|" table[id] >rows
}
