-- Gives the record back, undecided.
-- ARGV: token, note, 1 for parked or 0, fingerprint or nothing.
-- Answers: state, generation, event.
local token = ARGV[1]

if decided then
  if ARGV[4] ~= '' and ARGV[4] ~= decided.fp then
    return {'stale', '0', ''}
  end
  return {'already', '0', decided.event}
end
local r = undecided
if r and r.tok == token then
  local gen = int(r.gen + 1)
  redis.call('HDEL', key, 'tok', 'until', 'lease', 'fresh', 'lapses', 'luntil', 'lauth', 'parked')
  redis.call('HSET', key, 'rtok', token, 'gen', gen, 'note', ARGV[2])
  if ARGV[3] == '1' then
    redis.call('HSET', key, 'parked', '1')
  end
  redis.call('PERSIST', key)
  return {'released', gen, ''}
end
if r and r.rtok == token then
  return {'released', int(r.gen), ''}
end
return {'stale', '0', ''}
