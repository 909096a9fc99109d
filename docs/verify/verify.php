<?php

/**
 * The event in a request of Licenzy's; throws for anything else.
 * $body is file_get_contents('php://input'), $headers are array_change_key_case(getallheaders()).
 */
function verify(string $body, array $headers, string $secret): array
{
    $id = $headers['webhook-id'] ?? '';
    $sentAt = $headers['webhook-timestamp'] ?? '';
    if (abs(time() - (int) $sentAt) > 300) {
        throw new UnexpectedValueException('too old or too new');
    }
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret));
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$sentAt.$body", $key, true));
    foreach (explode(' ', $headers['webhook-signature'] ?? '') as $signature) {
        if (hash_equals($expected, $signature)) {
            return json_decode($body, true, 512, JSON_THROW_ON_ERROR);
        }
    }
    throw new UnexpectedValueException('no good signature');
}
