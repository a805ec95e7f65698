<?php
// Receive facts with PHP 8 alone: UNBROKEN_WEBHOOK_SECRET=whsec_… php -S 127.0.0.1:9000 verify.php

const TOLERANCE_SECONDS = 300; // an old request that somebody recorded is not accepted again

// `$body` is the bytes as they came: parsed and written again they are not those that were signed.
function is_genuine(string $secret, array $server, string $body): bool
{
    $id = $server['HTTP_WEBHOOK_ID'] ?? '';               // webhook-id
    $timestamp = $server['HTTP_WEBHOOK_TIMESTAMP'] ?? ''; // webhook-timestamp
    $signatures = $server['HTTP_WEBHOOK_SIGNATURE'] ?? ''; // webhook-signature
    if ($id === '' || !ctype_digit($timestamp)) {
        return false;
    }
    if (abs(time() - (int) $timestamp) > TOLERANCE_SECONDS) {
        return false;
    }
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret), true);
    if ($key === false || $key === '') {
        throw new RuntimeException('UNBROKEN_WEBHOOK_SECRET is not whsec_ and base64');
    }
    $digest = hash_hmac('sha256', "{$id}.{$timestamp}.{$body}", $key, true);
    $expected = 'v1,' . base64_encode($digest);
    foreach (explode(' ', $signatures) as $given) { // one for each secret while it is rotated
        if (hash_equals($expected, $given)) {
            return true;
        }
    }
    return false;
}

$body = (string) file_get_contents('php://input');
if (!is_genuine((string) getenv('UNBROKEN_WEBHOOK_SECRET'), $_SERVER, $body)) {
    http_response_code(401);
    exit;
}
$fact = json_decode($body, true, 512, JSON_THROW_ON_ERROR);
// Insert $fact['id'], the webhook-id, into a table where it is unique: it is the same on every
// attempt. Only if it was not there yet, put the fact into a queue.
error_log("{$fact['type']} {$fact['id']}");
http_response_code(204); // at once
