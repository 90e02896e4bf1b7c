-- What every script on a record begins with. It is put before each of the other
-- scripts, so that all of them read a record in the same way.
--
-- Undecided: a hash.
--   fp      fingerprint of the command
--   tok     token of the holder; absent once it was released
--   until   when the lease of tok ends, ms of Redis' clock
--   lease   how long that lease is, ms
--   auth    for whom the newest claim was made; it may have called for them
--   gen     generation: how often the record was released
--   conf    newest generation of which a copy is known to live; never above gen
--   note    what the caller keeps between tries
--   fresh   present while the claim that made the record is the only one ever
--   lapses  leases that ended without a release, since the last release
--   luntil  when the newest of those ended
--   lauth   for whom the first of those may have called: a later claim for somebody
--           else is told so, and does not call
--   rtok    token of the last release
--   lost    since when it is known that Redis forgot a newer state of this record,
--           which no claim was told yet
--   parked  present while a person has to look
--   rej     messages that were rejected, each ' message=reason', the newest 16; alone
--           it is no record, and expires
-- Decided: a string, one letter, the fingerprint, a line feed, the event.
--   S succeeded, F failed, C succeeded although a failure was stored before
-- Numbers are written with int(): Lua would turn large ones into 1e+15.
local key = KEYS[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function int(n)
  return string.format('%.0f', n)
end

local undecided, decided
local rejections = ''
local kind = redis.call('TYPE', key).ok
if kind == 'hash' then
  local f = redis.call('HMGET', key,
    'fp', 'tok', 'until', 'gen', 'conf', 'note', 'fresh', 'lapses', 'luntil', 'rtok', 'parked', 'lost',
    'lease', 'auth', 'lauth', 'rej')
  if not f[1] and not f[16] then
    return redis.error_reply('DEDUPE not a record: a hash without a fingerprint')
  end
  rejections = f[16] or ''
  if f[1] then
    undecided = {
      fp = f[1],
      tok = f[2],
      till = tonumber(f[3] or '0'),
      gen = tonumber(f[4] or '0'),
      conf = tonumber(f[5] or '0'),
      note = f[6] or '',
      fresh = f[7],
      lapses = tonumber(f[8] or '0'),
      luntil = tonumber(f[9] or '0'),
      rtok = f[10],
      parked = f[11] and '1' or '0',
      lost = tonumber(f[12]),
      auth = f[14] or '',
      lauth = f[15] or '',
    }
    -- The clock was set back: nobody is held for longer than a lease.
    if f[13] and undecided.till > now + tonumber(f[13]) then
      undecided.till, undecided.cut = now + tonumber(f[13]), true
    end
  end
elseif kind == 'string' then
  local value = redis.call('GET', key)
  local letter = string.sub(value, 1, 1)
  local feed = string.find(value, '\n', 1, true)
  if not feed or not string.find('SFC', letter, 1, true) then
    return redis.error_reply('DEDUPE not a record: a string of another make')
  end
  decided = {
    fp = string.sub(value, 2, feed - 1),
    succeeded = letter ~= 'F',
    contradiction = letter == 'C' and '1' or '0',
    event = string.sub(value, feed + 1),
  }
elseif kind ~= 'none' then
  return redis.error_reply('DEDUPE not a record: a ' .. kind)
end

-- Why a message was rejected, or ''.
local function rejected(message)
  local _, last = string.find(rejections, ' ' .. message .. '=', 1, true)
  return last and string.match(rejections, '^[^ ]*', last + 1) or ''
end
