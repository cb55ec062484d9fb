/* SPDX-License-Identifier: BSD-2-Clause */
/* core/value/sign.c: messages that a secret signs. */
#include "unit.h"

#include <sodium.h>

/* As hmac.new(b"k" * key, b"m" * message, ...) of Python says. */
static const struct {
    kt_hmac_t algorithm;
    size_t key, message;
    const char *mac;
} macs[] = {
    {KT_HMAC_SHA1, 1, 0, "3a84a218ee6665209bb70e84525dd837645a1965"},
    {KT_HMAC_SHA1, 20, 8, "ef218809c920e0ab8ab6807d349bb55ae4d4c367"},
    {KT_HMAC_SHA1, 64, 55, "8ddbc0950a7a463a1f4af3f0701f86da2c5e05e6"},
    {KT_HMAC_SHA1, 65, 56, "f85ca3e7bc5a1b4f80b7008f898da0d901968819"},
    {KT_HMAC_SHA1, 128, 63, "127e75e3a13b95d1fb0ef76c816e1caa2d491561"},
    {KT_HMAC_SHA1, 129, 64, "6b08c4d8cae2744219c77c86e60f492882f37824"},
    {KT_HMAC_SHA1, 200, 119, "a2e13b042b65edc46ed92b29d5ea2697c581e677"},
    {KT_HMAC_SHA1, 20, 1000, "2825fac7936f3ee1a5c6dd715ae265bb1780be43"},
    {KT_HMAC_SHA256, 1, 0, "8bb990c40a7d61cb97597a942125025be50ac8beb74436e3735b98893a7f6620"},
    {KT_HMAC_SHA256, 20, 8, "a9f7b5ecd902dba0a78b00d2c3b12790d45d9500cb30153c85748681d64ef7c5"},
    {KT_HMAC_SHA256, 64, 55, "6d801b7bd389318c9618b37fb94c6ae3eaf1d2701f58706fe8e8342188f228fe"},
    {KT_HMAC_SHA256, 65, 56, "81fe40120e3231fc31fef5a3a8ad45504b5f493d18511b8b8d512c719193284e"},
    {KT_HMAC_SHA256, 128, 63, "38a08e10a8d724523b3bc01b101d4c06966d161915d5bac835a048aa7316fb53"},
    {KT_HMAC_SHA256, 129, 64, "fe8fd10a85d720efb95cf02f70fcb8539402ba0ba6bc5fcc1d6ddc8b6c1b6d3e"},
    {KT_HMAC_SHA256, 200, 119, "09255b2ea119275e65d5396516d89b380688bc8eeb02c5d6d7656d0bfc82697c"},
    {KT_HMAC_SHA256, 20, 1000, "edbf7979df4c9347393cf6f13240e60509933d14de6ed780a82afbf5f0b820d4"},
    {KT_HMAC_SHA512, 1, 0,
     "893ccbf5d0b335fcda6f625e4a59055a364d75a9251589428750782c116830a1af455efe1094c1901d0e8fd5beb6d"
     "f64c6d5fe1c6f09be6ef47fb3987260cdd8"},
    {KT_HMAC_SHA512, 20, 8,
     "32b4d9ecb7d335ce1b0fc0c387a13c69bf48990ecfcc694e5765976f727093fcd631e1ed0584d9143b0d6e1b102a3"
     "f432fd599bc2c66fb36fb24de0927a53b26"},
    {KT_HMAC_SHA512, 64, 55,
     "1143c7834f30d516a6048c3d36f69ec4fe9cb48b78758d6fb1377c902ee8d8f8896d96975f185e865499b8562ae16"
     "68bb87ec9a98eeb41e3a546f5cb66b07afa"},
    {KT_HMAC_SHA512, 65, 56,
     "423bb25770505e5d716a90eaa68536321b652edadfe4386075a8666fcf5f7ab4051e93da4e03197be7d0658d9490f"
     "8eef65f4b57e69355f5b6a8473dfa03634e"},
    {KT_HMAC_SHA512, 128, 63,
     "2fc2d6e35247886a82643fa99d81967956696e72b910cf66779a38cd32274179e83952630ca7b4caaf0b1df197618"
     "56da76137d85bebfb6fdfcf13707e9eadbe"},
    {KT_HMAC_SHA512, 129, 64,
     "287da52f5bad6db852fbaaba3c44988fe534669c0135235fc605d323de74b3116c6fc190b7e7547f97ba10e97d40f"
     "2f81466817a0e537d5b1dff8d79e95e7a46"},
    {KT_HMAC_SHA512, 200, 119,
     "00170fb7d7b4e91f0285371899cf643d6e0b73206eafc87e0cb468fc95a3640eb059967648ee2b57b3b0a9bf5ad73"
     "be1023ff30b687203e74d5a2ce76c449d12"},
    {KT_HMAC_SHA512, 20, 1000,
     "bd9152eaa1d9bf1d4e8cd50463982191b65f6eb40b5d51e3467e55bc24128df603336c35997ded12080e1085f0c2f"
     "860c73b028a33c6979f5a0533a0a241fcc6"},
};

static void assert_mac(const kt_secret_t *key, const kt_sign_t *how, const char *message,
                       const char *expected)
{
    unsigned char mac[KT_MAC_MAX];
    char hex[2 * KT_MAC_MAX + 1];
    size_t size = 0;

    assert_ok(kt_secret_sign(key, how, message, strlen(message), mac, &size));
    ck_assert_str_eq(sodium_bin2hex(hex, sizeof(hex), mac, size), expected);
}

START_TEST(signatures_by_table)
{
    kt_secret_t *key = kt_secret_new(NULL, macs[_i].key);
    kt_sign_t how = KT_SIGN_INIT;
    char message[1001] = "";

    memset(kt_secret_buffer(key), 'k', macs[_i].key);
    memset(message, 'm', macs[_i].message);
    how.algorithm = macs[_i].algorithm;
    assert_mac(key, &how, message, macs[_i].mac);
    kt_secret_free(key);
}
END_TEST

/* The examples of the Amazon S3 API reference, "Authenticating Requests: Using the Authorization
 * Header". */
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define HOST "host:examplebucket.s3.amazonaws.com\n"
#define LAST "x-amz-content-sha256:" EMPTY "\nx-amz-date:20130524T000000Z\n\nhost;"
static const struct {
    const char *request, *signature;
} requests[] = {
    {"GET\n/test.txt\n\n" HOST "range:bytes=0-9\n" LAST
     "range;x-amz-content-sha256;x-amz-date\n" EMPTY,
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"GET\n/\nlifecycle=\n" HOST LAST "x-amz-content-sha256;x-amz-date\n" EMPTY,
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"GET\n/\nmax-keys=2&prefix=J\n" HOST LAST "x-amz-content-sha256;x-amz-date\n" EMPTY,
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

START_TEST(requests_to_aws_by_table)
{
    kt_secret_t *key = secret_of("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    kt_sign_t how = KT_SIGN_INIT;

    how.derive = "aws4:us-east-1/s3";
    assert_mac(key, &how, requests[_i].request, requests[_i].signature);
    kt_secret_free(key);
}
END_TEST

static const char *const no_dates[] = {
    "",
    ("GET\n/\n\nhost:a\n\nhost\n" EMPTY), /* the parentheses tell clang that no comma is missing */
    "GET\n/\n\nx-amz-date:20130524T000000\n\n",
    "GET\n/\n\nx-amz-date:2013-05-24T00:00\n\n",
    "GET\n/\n\nx-amz-date:20130524T000000Z0\n\n",
    "GET\n/\n\nx-amz-date:20130524T000000Z",
    "GET\n/\n\nx-amz-date:",
};

START_TEST(a_request_without_date_is_not_signed)
{
    kt_secret_t *key = secret_of("key");
    unsigned char mac[KT_MAC_MAX];
    kt_sign_t how = KT_SIGN_INIT;
    size_t size;

    how.derive = "aws4:us-east-1/s3";
    assert_status(kt_secret_sign(key, &how, no_dates[_i], strlen(no_dates[_i]), mac, &size),
                  KT_USAGE);
    assert_failure_has("x-amz-date");
    kt_secret_free(key);
}
END_TEST

static const struct {
    const char *derive;
    kt_hmac_t algorithm;
    kt_status_t status;
} kinds[] = {
    {NULL, KT_HMAC_SHA512, KT_SUCCESS},
    {"aws4:eu-central-1/execute-api", KT_HMAC_SHA256, KT_SUCCESS},
    {"aws4:eu-central-1/s3", KT_HMAC_SHA1, KT_USAGE},
    {"aws4:eu-central-1/", KT_HMAC_SHA256, KT_USAGE},
    {"aws4:eu-central-1", KT_HMAC_SHA256, KT_USAGE},
    {"aws4:/s3", KT_HMAC_SHA256, KT_USAGE},
    {"aws4:a/s3/aws4_request", KT_HMAC_SHA256, KT_USAGE},
    {"aws3:a/s3", KT_HMAC_SHA256, KT_USAGE},
    {"", KT_HMAC_SHA256, KT_USAGE},
};

START_TEST(kinds_by_table)
{
    kt_secret_t *key = secret_of("key");
    unsigned char mac[KT_MAC_MAX];
    kt_sign_t how = KT_SIGN_INIT;
    const char *why = NULL;
    size_t size;

    how.derive = kinds[_i].derive;
    how.algorithm = kinds[_i].algorithm;
    assert_status(kt_sign_check(&how, &why), kinds[_i].status);
    ck_assert(kinds[_i].status == KT_SUCCESS ? why == NULL : strstr(why, "aws4") != NULL);
    if (kinds[_i].status != KT_SUCCESS)
        assert_status(kt_secret_sign(key, &how, "m", 1, mac, &size), KT_USAGE);
    kt_secret_free(key);
}
END_TEST

START_TEST(an_empty_value_signs_nothing)
{
    kt_secret_t *key = secret_of("");
    unsigned char mac[KT_MAC_MAX];
    kt_sign_t how = KT_SIGN_INIT;
    size_t size;

    assert_status(kt_secret_sign(key, &how, "m", 1, mac, &size), KT_MALFORMED);
    kt_secret_free(key);
}
END_TEST

START_TEST(names_of_algorithms)
{
    ck_assert_int_eq(kt_hmac_parse("hmac-sha256"), KT_HMAC_SHA256);
    ck_assert_int_eq(kt_hmac_parse("hmac-sha1"), KT_HMAC_SHA1);
    ck_assert_int_eq(kt_hmac_parse("hmac-sha512"), KT_HMAC_SHA512);
    ck_assert_int_eq(kt_hmac_parse("sha256"), -1);
    ck_assert_int_eq(kt_hmac_parse(""), -1);
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, signatures_by_table, macs);
    UNIT_TABLE(tests, requests_to_aws_by_table, requests);
    UNIT_TABLE(tests, a_request_without_date_is_not_signed, no_dates);
    UNIT_TABLE(tests, kinds_by_table, kinds);
    tcase_add_test(tests, an_empty_value_signs_nothing);
    tcase_add_test(tests, names_of_algorithms);
}

UNIT_MAIN("sign", add_tests)
