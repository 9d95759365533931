#!lua
-- Judges claims against the entries of one epoch and notes them, or begins the epoch.
--
-- The text carries the epoch's id, so that its digest is this epoch's alone: as long as the server knows the digest, it
-- has not restarted since the epoch began.
local EPOCH = 'EPOCH_ID'

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
  redis.call('SADD', KEYS[2], EPOCH)
  redis.call('SET', KEYS[1], mark())
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
    local object, line, fingerprint = struct.unpack('>I4I4c16', entry)
    return object, line, fingerprint, 0x80000000, 0
  end
  local high, low, object, line, fingerprint = struct.unpack('>I4I4I4I4c16', entry)
  return object, line, fingerprint, high, low
end

-- The verdict, and the entry to note, if any.
local function judge(held, claimed, trusted)
  if not held then
    return WRITE_IF_CHANGED, claimed
  end
  local object, line, fingerprint, high, low = decode(held)
  local new_object, new_line, new_fingerprint, new_high, new_low = decode(claimed)
  local higher
  if high ~= new_high then
    higher = high > new_high
  elseif low ~= new_low then
    higher = low > new_low
  elseif object ~= new_object then
    higher = object > new_object
  else
    higher = line > new_line
  end
  if higher then
    return SUPERSEDED, nil
  elseif fingerprint == new_fingerprint and (is_stored(held) or object < trusted) then
    return UNCHANGED, claimed .. STORED
  end
  return WRITE, claimed
end

-- KEYS: the epoch's key, then a hash per group. ARGV: the first object that is not trusted, how many claims each
-- group has (two bytes), then the field and the entry of each claim. One verdict per claim; nil when entries were
-- lost. All is read before anything is written, so that an error leaves no half of it.
local function claim()
  if redis.call('GET', KEYS[1]) ~= mark() then
    return false
  end
  local trusted, sizes = tonumber(ARGV[1]), ARGV[2]
  local verdicts, writes, at = {}, {}, 3
  for group = 2, #KEYS do
    local size = struct.unpack('>I2', sizes, 2 * group - 3)
    local fields = {}
    for i = 1, size do
      fields[i] = ARGV[at + 2 * i - 2]
    end
    local held = redis.call('HMGET', KEYS[group], unpack(fields))
    local write, n = { KEYS[group] }, 1
    for i = 1, size do
      local verdict, noted = judge(held[i], ARGV[at + 2 * i - 1], trusted)
      verdicts[#verdicts + 1] = verdict
      if noted then
        write[n + 1], write[n + 2] = fields[i], noted
        n = n + 2
      end
    end
    if n > 1 then
      writes[#writes + 1] = write
    end
    at = at + 2 * size
  end
  for _, write in ipairs(writes) do
    redis.call('HSET', unpack(write))
  end
  return table.concat(verdicts)
end

if #ARGV == 0 then
  return begin()
end
return claim()
