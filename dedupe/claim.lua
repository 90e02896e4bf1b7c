-- Takes the record for one lease.
-- ARGV: fingerprint, token, lease in ms, generation of the delivery, note of a new record,
--       for whom it claims, message, 1 if it was claimed before or 0.
-- Answers: state, now, fresh, generation, lapses, ms since the newest lapse,
--          ms for which it is held, parked, contradiction, note, event or why it was
--          rejected, for whom lapsed claims may have called.
local fp, token, note, auth = ARGV[1], ARGV[2], ARGV[5], ARGV[6]
local ends = int(now + tonumber(ARGV[3]))
local gen = tonumber(ARGV[4])

if decided then
  if decided.fp ~= fp then
    return {'conflict', int(now), '0', '0', '0', '0', '0', '0', '0', '', ''}
  end
  return {'decided', int(now), '0', '0', '0', '0', '0', '0', decided.contradiction, decided.event, ''}
end

local why = rejected(ARGV[7])
if why ~= '' and ARGV[8] == '0' then
  return {'rejected', int(now), '0', '0', '0', '0', '0', '0', '0', why, ''}
end
if why ~= '' then
  -- It was claimed, and Redis forgot that before somebody rejected it.
  local first = string.find(rejections, ' ' .. ARGV[7] .. '=', 1, true)
  local after = string.find(rejections, ' ', first + 1, true) or #rejections + 1
  rejections = string.sub(rejections, 1, first - 1) .. string.sub(rejections, after)
  if rejections == '' then
    redis.call('HDEL', key, 'rej')
  else
    redis.call('HSET', key, 'rej', rejections)
  end
end

if not undecided then
  redis.call('HSET', key, 'fp', fp, 'tok', token, 'until', ends, 'lease', ARGV[3], 'auth', auth,
    'gen', int(gen), 'conf', '0', 'note', note, 'fresh', '1')
  if rejections ~= '' then
    redis.call('PERSIST', key)
  end
  return {'won', int(now), '1', int(gen), '0', '0', '0', '0', '0', note, ''}
end

local r = undecided

-- Counts a claim that ended without a release. Whoever made it may be calling.
local function lapse(at)
  r.lapses = r.lapses + 1
  r.luntil = math.max(r.luntil, at)
  if r.lauth == '' then
    r.lauth = r.auth
  end
  redis.call('HSET', key, 'lapses', int(r.lapses), 'luntil', int(r.luntil), 'lauth', r.lauth)
end

if r.fp ~= fp then
  return {'conflict', int(now), '0', '0', '0', '0', '0', '0', '0', '', ''}
end
-- A claim that its client sent twice and that arrives after its own release:
-- nobody waits for this answer, so it must not hold the record.
if r.rtok == token then
  return {'held', int(now), '0', int(r.gen), '0', '0', '0', r.parked, '0', r.note, ''}
end
if r.tok ~= token then
  if gen < r.conf then
    return {'superseded', int(now), '0', int(r.gen), '0', '0', '0', r.parked, '0', '', ''}
  end
  if r.tok and r.till > now then
    if r.cut then
      redis.call('HSET', key, 'until', int(r.till))
    end
    return {'held', int(now), '0', int(r.gen), '0', '0', int(r.till - now), r.parked, '0', r.note, ''}
  end
  if r.tok then
    lapse(r.till)
  end
  redis.call('HDEL', key, 'fresh')
  r.fresh = false
end
-- A copy newer than the record: Redis forgot a release, and with it what its note
-- told of calls. That counts as a claim that lapsed when it was noticed.
if gen > r.gen then
  r.lost = now
end
if r.lost then
  lapse(r.lost)
  redis.call('HDEL', key, 'lost')
end
r.gen = math.max(r.gen, gen)
redis.call('HSET', key, 'tok', token, 'until', ends, 'lease', ARGV[3], 'auth', auth, 'gen', int(r.gen))
redis.call('PERSIST', key)
local ago = 0
if r.lapses > 0 then
  ago = math.max(0, now - r.luntil)
end
return {'won', int(now), r.fresh and '1' or '0', int(r.gen), int(r.lapses), int(ago), '0', r.parked, '0', r.note, r.lauth}
