-- Asks for products by random ids below a limit, which is the first argument, and sums up as JSON.

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("seed", threads)
end

local ids, before, behind

function init(arguments)
  ids = tonumber(arguments[1])
  -- Without it, every thread would ask for the same ids.
  math.randomseed(seed)
  -- Made once: what changes is the id alone.
  local text = wrk.format("GET", "/products/@")
  local at = text:find("@", 1, true)
  before, behind = text:sub(1, at - 1), text:sub(at + 1)
end

function request()
  return before .. math.random(1, ids) .. behind
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"micros":%d,"p50":%.3f,"p99":%.3f,"failed":%d}\n',
    summary.requests, summary.duration, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout
  ))
end
