-- Writes down that a message is rejected, unless there is a record.
-- ARGV: message, reason, ms to keep it.
-- Answers: 'rejected' and the reason that stands where read.lua, which follows, has
--          the note; or what that answers of the record.
local message, reason = ARGV[1], rejected(ARGV[1])
if reason == '' and not decided and not undecided then
  reason = ARGV[2]
  if select(2, string.gsub(rejections, '=', '')) >= 16 then
    rejections = string.gsub(rejections, '^ [^ ]*', '', 1)
  end
  redis.call('HSET', key, 'rej', rejections .. ' ' .. message .. '=' .. reason)
  redis.call('PEXPIRE', key, ARGV[3])
end
if reason ~= '' then
  return {'rejected', '', '0', '0', '0', '0', '0', '0', reason}
end
