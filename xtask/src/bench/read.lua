-- Asks for products by random ids below a limit, which is the first argument.

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

dofile("done.lua")
