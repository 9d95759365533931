# Writes product lines: awk -v lines=1000 -v ids=400 -v first=1 -v seed=1 -f lines.awk
#
# Ids come again all the time, with one of two contents (A B A …); about one line in 500 is not acceptable. The same
# arguments make the same lines in every awk.

function random(below) {
    state = (state * 16807) % 2147483647
    return state % below
}

BEGIN {
    state = seed * 7919 + 1
    for (line = 1; line <= lines; line++) {
        id = first + random(ids)
        variant = random(2)
        price = sprintf("%d.%02d", id % 900 + variant, id % 100)
        roll = random(1000)
        if (roll == 0) {
            printf "{\"id\":%d,\"title\":\"broken off\n", id
        } else if (roll == 1) {
            printf "{\"id\":%d,\"title\":\"Article %d\",\"price\":-%s", id, id, price
            print ",\"category\":\"test\",\"brand\":\"Torvik\",\"url\":\"\",\"description\":\"\"}"
        } else {
            printf "{\"id\":%d,\"title\":\"Article %d, %s\",\"price\":%s", id, id, variant ? "blue" : "red", price
            printf ",\"category\":\"test\",\"brand\":\"Torvik\",\"url\":\"https://shop.example.com/test/%d\"", id
            print ",\"description\":\"An article with a description of a length that is usual for articles.\"}"
        }
    }
}
