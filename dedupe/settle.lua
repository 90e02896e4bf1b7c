-- Decides the record.
-- ARGV: fingerprint, token, 1 for succeeded or 0 for failed, ms to keep it, event.
-- Answers: state, contradiction, the event that is stored now.
local fp, token, succeeded, event = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[5]

local function decide(letter)
  redis.call('SET', key, letter .. fp .. '\n' .. event, 'PX', ARGV[4])
  return {'settled', letter == 'C' and '1' or '0', event}
end

if decided then
  if decided.fp ~= fp then
    return {'foreign', '0', ''}
  end
  if succeeded and not decided.succeeded then
    return decide('C')
  end
  return {'already', decided.contradiction, decided.event}
end
if succeeded then
  return decide('S')
end
-- A holder that does not know what Redis forgot proves no failure.
if undecided and undecided.tok == token and not undecided.lost then
  return decide('F')
end
return {'stale', '0', ''}
