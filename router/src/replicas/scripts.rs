//! What runs inside of Redis, each as one step.
//!
//! Numbers of Lua are doubles, exact up to 2^53: nine million dollars in nano-dollars, which is the most that a budget may
//! have where replicas share it ([`MOST`]). They are written with `%.0f`, because Lua writes large ones with an exponent.
//!
//! Time is Redis's own.

use redis::Script;
use std::sync::LazyLock;

/// The most that an account can count: 2^53 - 1 units.
pub const MOST: u64 = (1 << 53) - 1;

const CLOCK: &str = "
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function whole(number) return string.format('%.0f', number) end
";

/// Joins or renews. KEYS: epoch, members. ARGV: me, lease in ms, the epoch that I know or '', the name of a fresh epoch,
/// how long that is closed in ms. Gives {1, epoch, ms until it opens}; {0}: I am buried, or the epoch is another one.
pub(super) static RENEW: LazyLock<Script> = LazyLock::new(|| {
    script(
        "
local epoch = redis.call('HGET', KEYS[1], 'id')
if not epoch then
    epoch = ARGV[4]
    redis.call('HSET', KEYS[1], 'id', epoch, 'opens', whole(now + tonumber(ARGV[5])))
    redis.call('DEL', KEYS[2])
end
if ARGV[3] ~= '' and (ARGV[3] ~= epoch or not redis.call('ZSCORE', KEYS[2], ARGV[1])) then return {0} end
redis.call('ZADD', KEYS[2], whole(now + tonumber(ARGV[2])), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. whole(now))
return {1, epoch, whole(math.max(0, tonumber(redis.call('HGET', KEYS[1], 'opens')) - now))}
",
    )
});

/// Leaves. KEYS: members. ARGV: me.
pub(super) static LEAVE: LazyLock<Script> = LazyLock::new(|| script("return redis.call('ZREM', KEYS[1], ARGV[1])"));

/// Changes a slice. KEYS: epoch, members, account. ARGV: me, my epoch, limit, spent, held, how far the slice has to reach,
/// how far it may reach beyond, 'give' or 'take'. Gives {1, slice, all slices and what the gone have spent, spent by all,
/// names of the gone...}; {0}: I am no member any longer; {2}: nobody knows the account.
///
/// A slice is all that a replica may spend in the window, what it has spent included. Giving lowers it to what is spent and
/// held; taking never lowers it.
pub(super) static SLICE: LazyLock<Script> = LazyLock::new(|| {
    script(
        "
local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[2] or not score or tonumber(score) < now then return {0} end
if redis.call('EXISTS', KEYS[3]) == 0 then return {2} end
local function field(name) return tonumber(redis.call('HGET', KEYS[3], name) or '0') end
local mine, spent = field('g:' .. ARGV[1]), field('s:' .. ARGV[1])
local total, all = field('total'), field('spent')
local limit, used = tonumber(ARGV[3]), tonumber(ARGV[4]) + tonumber(ARGV[5])
local free = math.max(0, limit - (total - mine))
local slice = used
if ARGV[8] == 'take' then
    local wanted = tonumber(ARGV[6])
    slice = math.max(used, mine)
    if wanted <= free then
        slice = math.max(slice, wanted + math.floor(math.min(tonumber(ARGV[7]), (free - wanted) / 4)))
    end
end
total, all = total - mine + slice, all - spent + tonumber(ARGV[4])
redis.call('HSET', KEYS[3], 'g:' .. ARGV[1], whole(slice), 's:' .. ARGV[1], ARGV[4], 'total', whole(total), 'spent', whole(all))
local answer = {1, whole(slice), whole(total), whole(all)}
for _, name in ipairs(redis.call('HKEYS', KEYS[3])) do
    if string.sub(name, 1, 2) == 'g:' then
        local member = string.sub(name, 3)
        if not redis.call('ZSCORE', KEYS[2], member) then table.insert(answer, member) end
    end
end
return answer
",
    )
});

/// Begins an account with what the ledger knows. KEYS: epoch, members, account. ARGV: me, my epoch, when it ends in ms since
/// 1970 or 0, then pairs of an instance and what it has committed. Gives 1; 0: I am no member any longer; 2: it is there
/// already.
pub(super) static SEED: LazyLock<Script> = LazyLock::new(|| {
    script(
        "
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[2] or not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
if tonumber(redis.call('HGET', KEYS[1], 'opens')) > now then return 0 end
if redis.call('EXISTS', KEYS[3]) == 1 then return 2 end
local total = 0
for at = 4, #ARGV, 2 do
    local amount = tonumber(ARGV[at + 1])
    total = total + amount
    if redis.call('ZSCORE', KEYS[2], ARGV[at]) then
        redis.call('HSET', KEYS[3], 'g:' .. ARGV[at], whole(amount), 's:' .. ARGV[at], whole(amount))
    end
end
redis.call('HSET', KEYS[3], 'total', whole(total), 'spent', whole(total))
if ARGV[3] ~= '0' then redis.call('PEXPIREAT', KEYS[3], ARGV[3]) end
return 1
",
    )
});

/// Puts what a gone replica has committed by the ledger in the place of its slice. KEYS: members, account. ARGV: its name,
/// the amount. Gives 1; 0: it is no stranger, or it was done.
pub(super) static RETIRE: LazyLock<Script> = LazyLock::new(|| {
    script(
        "
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
local slice = redis.call('HGET', KEYS[2], 'g:' .. ARGV[1])
if not slice then return 0 end
local spent = tonumber(redis.call('HGET', KEYS[2], 's:' .. ARGV[1]) or '0')
local total, all = tonumber(redis.call('HGET', KEYS[2], 'total')), tonumber(redis.call('HGET', KEYS[2], 'spent'))
redis.call('HDEL', KEYS[2], 'g:' .. ARGV[1], 's:' .. ARGV[1])
redis.call('HSET', KEYS[2], 'total', whole(total - tonumber(slice) + tonumber(ARGV[2])),
    'spent', whole(all - spent + tonumber(ARGV[2])))
return 1
",
    )
});

/// Rate limits. KEYS: buckets. ARGV: 'enter' (take from each bucket, or from none), 'take' (from each, as far as there is
/// something) or 'correct', then for each bucket: its amount, its period in ms, units to take, units that were taken for
/// them before. Gives {1} or, for refused, {0}, and what is taken of each in millionths of a unit.
///
/// The same arithmetic as `policies::Bucket`.
pub(super) static LIMIT: LazyLock<Script> = LazyLock::new(|| {
    script(
        "
local taken, fits = {}, 1
for at, key in ipairs(KEYS) do
    local amount, period = tonumber(ARGV[4 * at - 2]), tonumber(ARGV[4 * at - 1])
    local known = redis.call('HMGET', key, 'taken', 'at')
    taken[at] = 0
    if known[1] then
        taken[at] = math.max(0, tonumber(known[1]) - math.max(0, now - tonumber(known[2])) * amount / period)
    end
    local units = tonumber(ARGV[4 * at])
    if ARGV[1] == 'enter' and units > 0 and taken[at] + units > amount then fits = 0 end
end
for at, key in ipairs(KEYS) do
    local amount, period = tonumber(ARGV[4 * at - 2]), tonumber(ARGV[4 * at - 1])
    local units, before = tonumber(ARGV[4 * at]), tonumber(ARGV[4 * at + 1])
    if ARGV[1] == 'correct' then
        taken[at] = math.min(math.max(0, taken[at] + units - before), amount * 10)
    elseif fits == 1 then
        taken[at] = math.min(taken[at] + units, math.max(amount, taken[at]))
    end
    redis.call('HSET', key, 'taken', string.format('%.6f', taken[at]), 'at', whole(now))
    redis.call('PEXPIRE', key, whole(period * 11))
    taken[at] = whole(math.ceil(taken[at] * 1000000))
end
return {fits, unpack(taken)}
",
    )
});

fn script(text: &str) -> Script {
    Script::new(&format!("{CLOCK}{text}"))
}
