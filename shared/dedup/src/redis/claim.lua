#!lua
-- Judges claims against the entries of one epoch and notes them, or begins the epoch.
--
-- The text carries the epoch's id, so that its digest is this epoch's alone: as long as the server knows the digest, it
-- has not restarted since the epoch began.
local EPOCH = 'EPOCH_ID'

local call, unpack_bytes = redis.call, struct.unpack

local WRITE, WRITE_IF_CHANGED, UNCHANGED, SUPERSEDED = 'w', 'c', 'u', 's'

-- What the epoch's key holds while nothing was lost: the epoch, and the replication history that it began in. The
-- server takes another history when it becomes a primary, and may then have taken back writes.
local function mark()
  local replication = redis.pcall('INFO', 'replication')
  local history = type(replication) == 'string' and string.match(replication, 'master_replid:(%x+)')
  return EPOCH .. ' ' .. (history or '')
end

-- KEYS: the epoch's key, the set of epochs.
local function begin()
  call('SADD', KEYS[2], EPOCH)
  call('SET', KEYS[1], mark())
  return ''
end

-- Stands behind an entry, whose length is a multiple of eight without it, when the row holds this content already.
local STORED = '!'

local function is_stored(entry)
  return #entry % 8 ~= 0
end

-- Object, line, fingerprint, and the two words of the version, which stands in front unless it is 0. Numbers are
-- doubles here and strings compare by locale: a rank compares word by word.
local function decode(entry)
  if #entry < 32 then
    local object, line, fingerprint = unpack_bytes('>I4I4c16', entry)
    return object, line, fingerprint, 0x80000000, 0
  end
  local high, low, object, line, fingerprint = unpack_bytes('>I4I4I4I4c16', entry)
  return object, line, fingerprint, high, low
end

-- The bytes of an entry's position.
local function position(entry)
  if #entry < 32 then
    return string.sub(entry, 1, 8)
  end
  return string.sub(entry, 9, 16)
end

-- Whether a rank is higher than another one; the words of the versions are nil where neither has one.
local function is_higher(high, low, object, line, new_high, new_low, new_object, new_line)
  if high ~= new_high then
    return high > new_high
  elseif low ~= new_low then
    return low > new_low
  elseif object ~= new_object then
    return object > new_object
  end
  return line > new_line
end

-- The verdict, and the entry to note, or nothing when it is SUPERSEDED.
local function judge(held, claimed, trusted)
  local object, line, fingerprint, high, low
  local new_object, new_line, new_fingerprint, new_high, new_low
  if #held < 32 and #claimed < 32 then
    -- Nearly always. A call less for each counts here.
    object, line, fingerprint = unpack_bytes('>I4I4c16', held)
    new_object, new_line, new_fingerprint = unpack_bytes('>I4I4c16', claimed)
  else
    object, line, fingerprint, high, low = decode(held)
    new_object, new_line, new_fingerprint, new_high, new_low = decode(claimed)
  end
  if is_higher(high, low, object, line, new_high, new_low, new_object, new_line) then
    return SUPERSEDED, nil
  elseif fingerprint == new_fingerprint and (is_stored(held) or object < trusted) then
    return UNCHANGED, claimed .. STORED
  end
  return WRITE, claimed
end

-- KEYS: the epoch's key, then a hash per group. ARGV: the first object that is not trusted, how many claims each
-- group has (two bytes), then the fields of each group's claims, followed by their entries. One verdict per claim, and
-- then, for each SUPERSEDED in their order, the eight bytes of the position that is held; nil when entries were lost. All
-- is read before anything is written, so that an error leaves no half of it.
local function claim()
  if call('GET', KEYS[1]) ~= mark() then
    return false
  end
  local keys, args = KEYS, ARGV
  local trusted, sizes = tonumber(args[1]), args[2]
  local verdicts, claims, above, writes, at = {}, 0, {}, {}, 3
  for group = 2, #keys do
    local size = unpack_bytes('>I2', sizes, 2 * group - 3)
    local held = call('HMGET', keys[group], unpack(args, at, at + size - 1))
    local write, n = { keys[group] }, 1
    for i = 1, size do
      local claimed = args[at + size + i - 1]
      local verdict, noted = WRITE_IF_CHANGED, claimed
      if held[i] then
        verdict, noted = judge(held[i], claimed, trusted)
      end
      claims = claims + 1
      verdicts[claims] = verdict
      if noted then
        write[n + 1], write[n + 2] = args[at + i - 1], noted
        n = n + 2
      else
        above[#above + 1] = position(held[i])
      end
    end
    if n > 1 then
      writes[#writes + 1] = write
    end
    at = at + 2 * size
  end
  for _, write in ipairs(writes) do
    call('HSET', unpack(write))
  end
  return table.concat(verdicts) .. table.concat(above)
end

if #ARGV == 0 then
  return begin()
end
return claim()
