/* A Modbus TCP server by libmodbus. Prints what it holds as JSON, floats in the four byte orders,
 * then serves one connection after another.
 *
 * usage: libmodbus_server PORT SEED */
#include <errno.h>
#include <modbus/modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* libmodbus 3.1.6 on a little-endian machine calls BADC what the field calls ABCD (mended in 3.1.7), so
 * its named setters are no reference; words are written by hand, CDAB also by modbus_set_float. */
static void put(int which, float value, uint16_t *to) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t high = (uint16_t)(bits >> 16), low = (uint16_t)bits;
    uint16_t high_swapped = (uint16_t)(high >> 8 | high << 8), low_swapped = (uint16_t)(low >> 8 | low << 8);
    switch (which) {
    case 0: to[0] = high, to[1] = low; break;
    case 1: modbus_set_float(value, to); break;
    case 2: to[0] = high_swapped, to[1] = low_swapped; break;
    default: to[0] = low_swapped, to[1] = high_swapped; break;
    }
}

static const char *const order[4] = {"ABCD", "CDAB", "BADC", "DCBA"};

int main(int count, char **argument) {
    if (count != 3) return 2;
    modbus_t *context = modbus_new_tcp("127.0.0.1", atoi(argument[1]));
    modbus_mapping_t *map = modbus_mapping_new(64, 64, 200, 200);
    if (!context || !map) return 1;
    srand((unsigned)atoi(argument[2]));
    printf("{");
    for (int i = 0; i < 40; i++) {
        float value = (float)(rand() % 2000000 - 1000000) / 8.0f;
        put(i % 4, value, map->tab_registers + 2 * i);
        printf("\"f32_%d\":{\"at\":\"holding:%d\",\"type\":\"f32\",\"order\":\"%s\",\"value\":%.9g},", i, 2 * i, order[i % 4],
               (double)value);
    }
    for (int i = 0; i < 50; i++) {
        map->tab_input_registers[i] = (uint16_t)(rand() & 0xffff);
        printf("\"u16_%d\":{\"at\":\"input:%d\",\"type\":\"u16\",\"value\":%u},", i, i, map->tab_input_registers[i]);
    }
    for (int i = 0; i < 32; i++) {
        map->tab_bits[i] = (uint8_t)(rand() & 1);
        map->tab_input_bits[i] = (uint8_t)(rand() & 1);
        printf("\"coil_%d\":{\"at\":\"coil:%d\",\"type\":\"bool\",\"value\":%s},", i, i, map->tab_bits[i] ? "true" : "false");
        printf("\"discrete_%d\":{\"at\":\"discrete:%d\",\"type\":\"bool\",\"value\":%s}%s", i, i,
               map->tab_input_bits[i] ? "true" : "false", i == 31 ? "" : ",");
    }
    printf("}\n");
    fflush(stdout);
    int listener = modbus_tcp_listen(context, 4);
    if (listener < 0) {
        fprintf(stderr, "listen: %s\n", modbus_strerror(errno));
        return 1;
    }
    while (modbus_tcp_accept(context, &listener) >= 0) {
        uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
        int length;
        while ((length = modbus_receive(context, query)) >= 0)
            if (length > 0 && modbus_reply(context, query, length, map) < 0) break;
        modbus_close(context);
    }
    return 0;
}
